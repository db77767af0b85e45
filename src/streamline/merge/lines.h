// SPDX-License-Identifier: Apache-2.0
// LiNeS (Wang et al., arXiv 2410.17146): a task vector scaled linearly with depth, so that shallow layers stay near the
// base and deep ones keep what was learnt.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace streamline::merge {

struct Lines {
  double alpha = 1, beta = 0;          // of the first layer, and what is added to it up to the last
  std::optional<double> outside = {};  // of embeddings, final norm and head; else alpha, as the paper's code has it
  // The depth of each layer of the result, and how many there are of them: its position, or what it was in the model
  // that was pruned. Empty: positions.
  std::vector<std::int64_t> depths = {};
  std::int64_t layers = 0;
};

// alpha + beta * depth / (layers - 1); layer < 0: of what is outside the layers. `count`: layers of the result.
// Errors: usage where there is one layer only, for which the formula says nothing.
double depth_factor(const Lines& lines, std::int64_t layer, std::int64_t count);

// The alpha at which the first layer is merged as a uniform average would: the norm of the summed task vectors, over
// that of the merged one, over their number; norms are sums of magnitudes (L1) over all parameters. Errors: numeric
// where nothing was merged.
double automatic_alpha(std::int64_t models, double summed, double merged);

}  // namespace streamline::merge
