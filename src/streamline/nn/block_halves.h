// SPDX-License-Identifier: Apache-2.0
// A layer's forward pass, and the residual stream between its halves.
#pragma once

#include "streamline/nn/block.h"

namespace streamline {

// block_forward() of a whole sequence, to the bit. `middle` becomes the stream after the attention and before the MLP:
// x itself without an attention, the result without an MLP. It costs a copy of the stream.
torch::Tensor block_forward_halves(const Config& config, const LayerWeights& weights, const torch::Tensor& x,
                                   const Positions& positions, torch::Tensor& middle);

}  // namespace streamline
