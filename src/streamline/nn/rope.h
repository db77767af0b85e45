// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding (Su et al., arXiv 2104.09864): component j of a head turns with component j + pairs (the
// convention of most Hugging Face checkpoints) or, as in the paper, with its neighbour. Components beyond the pairs
// pass.
#pragma once

#include <vector>

#include "streamline/nn/block.h"

namespace streamline {

// Angle per position of each of the dim / 2 pairs that turn; `positions` counts all positions up to the last.
std::vector<double> rope_frequencies(const RopeConfig& rope, std::int64_t dim, std::int64_t max_positions,
                                     std::int64_t positions);

// x: [batch, seq, heads, head_dim], turned by its positions; the same shape.
torch::Tensor rotate(const torch::Tensor& x, const RotaryTable& table, bool neighbours = false);

}  // namespace streamline
