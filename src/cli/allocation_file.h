// SPDX-License-Identifier: Apache-2.0
// How much goes of each layer: by the spectra of a model, and as a file that `streamline spectra` writes.
#pragma once

#include <string>
#include <vector>

#include "streamline/base/json.h"
#include "streamline/engine/model.h"
#include "streamline/prune/allocation.h"
#include "streamline/prune/spectra.h"

namespace streamline::cli {

struct SpreadOptions {
  double ratio = 0.5, spread = 0.3, cap = 1;
  bool clip = false;
  std::string tail = "peak";
  std::int64_t largest_side = 8192;
};

// Errors: those of check_allocation(), which name what cannot be before anything is measured.
void check_spread(const SpreadOptions& options);

// The weights of each layer's matrices that `sparsify` prunes.
std::vector<std::int64_t> layer_weights(const Config& config);

// Ratios of all layers from their exponents. Errors: those of allocate().
Allocation allocate_by_exponents(const Config& config, const std::vector<double>& exponents,
                                 const SpreadOptions& options);

// {"matrices": …, "layers": …, "ratio", "spread", "largest_spread", …}: measured and allocated.
Json spectra_record(const Model& model, const SpreadOptions& options, std::uint64_t seed);

struct LayerExponents {
  std::vector<double> values;
  std::vector<double> errors;  // standard errors; empty: unknown
};
// Those of a spectra_record().
LayerExponents exponents_of(const Json& record);

// Those in a file of spectra_record(). Errors: io, format; mismatch when it is of another model.
LayerExponents read_exponents(const std::string& file, const Model& model);

}  // namespace streamline::cli
