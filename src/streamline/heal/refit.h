// SPDX-License-Identifier: Apache-2.0
// The last matrices of sliced halves fitted anew: of what the heads and channels that went would have given, as much as
// those that stay can give, by least squares, layer after layer.
#pragma once

#include <map>
#include <utility>

#include "streamline/engine/model.h"
#include "streamline/text/corpus.h"

namespace streamline {

struct FittedMatrix {
  double before = 0, after = 0;  // mean squares over held-out tokens of what is missing, of what then still is
  double ridge = 0;              // that was best; infinity where nothing was better than nothing
};
struct Refit {
  std::shared_ptr<const WeightChange> change = {};
  std::map<std::pair<std::int64_t, Role>, FittedMatrix> matrices = {};  // by layer of the source; o and down
};

// For each sliced half of a layer that the plan keeps: W' = W_kept + D, D minimising |x_gone W_gone - x_kept D|² with a
// ridge on D, where x is what the whole layer's matrix reads of the stream that the layers before it, sliced and
// fitted, give. Ridges are judged by every eighth sequence. Experts stay as they were sliced. The change is one of the
// source's matrices: Model::changed(change).view(plan, …) has the fitted ones. Memory: the stream of the text, one
// layer, a Gram matrix of fp64, and the fitted matrices. Errors: usage for a plan that slices nothing or replaces
// layers; resource for fewer than two sequences, and for fewer tokens than a matrix has columns, naming the number
// needed.
Refit refit_slices(const Model& source, const Plan& plan, const TokenBatches& text);

}  // namespace streamline
