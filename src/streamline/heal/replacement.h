// SPDX-License-Identifier: Apache-2.0
// The networks that may stand in for a window. Each is one small file in replacements/ and one line of
// replacements.def.
#pragma once

#include <span>

#include "streamline/base/random.h"
#include "streamline/engine/model.h"

namespace streamline {

// What loads the folded result unmodified.
enum class Folding {
  ordinary_layer,  // a layer of the same family
  extension,       // our own entry in config.json (docs/formats); only this program reads it
};

struct Replacement {
  std::string_view name, title, source;  // source: paper and section
  double learning_rate;                  // largest of a run, by default; measured (docs/healing.md)
  // Shape of the network in place of layer `first` of `model`.
  LayerConfig (*shape)(const Config& model, std::int64_t first);
  // Initial weights, fp32 on the CPU, independent of the model's memory.
  LayerWeights (*initial)(const Model& model, std::int64_t first, Rng& rng);
  Folding (*folding)(const Config& model);
};

std::span<const Replacement* const> replacements();          // without "none"
const Replacement& find_replacement(std::string_view name);  // usage error that lists what exists

std::int64_t replacement_parameters(const Replacement& replacement, const Config& model, std::int64_t first);

}  // namespace streamline
