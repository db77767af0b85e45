// SPDX-License-Identifier: Apache-2.0
// The last matrices of sliced halves fitted anew: of what the heads and channels that went would have given, as much as
// those that stay can give, or its mean, layer after layer.
#pragma once

#include <map>
#include <string_view>
#include <utility>

#include "streamline/engine/model.h"
#include "streamline/text/corpus.h"

namespace streamline {

enum class RefitKind {
  least_squares,  // the columns that stay are fitted to what is missing
  bias,           // the mean of what is missing is a bias (FLAP, An et al., arXiv 2312.11983, section 3)
};

// "least-squares", "bias"; errors: usage.
RefitKind parse_refit(std::string_view name);

struct FittedMatrix {
  double before = 0, after = 0;  // mean squares over held-out tokens of what is missing, of what then still is
  double ridge = 0;              // that was best; infinity where nothing was better than nothing; 0 of a bias
};
struct Refit {
  Model model;  // the source with what was found: model.view(plan, …) has the fitted matrices
  std::map<std::pair<std::int64_t, Role>, FittedMatrix> matrices = {};  // by layer of the source; o and down
};

// Errors, naming the half: unsupported where slices of heads, or of channels, may need a bias that the family cannot
// hold.
void check_refit(const Config& config, RefitKind kind, bool heads, bool channels);

// For each sliced half of a layer that the plan keeps, x being what the whole layer's matrix reads of the stream that
// the layers before it, sliced and fitted, give:
// least_squares: W' = W_kept + D, D minimising |x_gone W_gone - x_kept D|² with a ridge on D, judged by every eighth
// sequence. Experts stay as they were sliced.
// bias: b' = b + mean(x_gone) W_gone, over the same text but every eighth sequence, of which `after` is told. FLAP
// takes the means of the whole model instead. Other biases that the model then has are zeros (added_biases.h).
// Memory: the stream of the text, one layer, a Gram matrix of fp64, and the fitted matrices. Errors: usage for a plan
// that slices nothing or replaces layers; resource for fewer than two sequences, and for fewer tokens than there are
// unknowns for each output, naming the number needed; unsupported where a sliced half cannot have a bias.
Refit refit_slices(const Model& source, const Plan& plan, const TokenBatches& text,
                   RefitKind kind = RefitKind::least_squares);

}  // namespace streamline
