// SPDX-License-Identifier: Apache-2.0
// A sparse MLP (Shazeer et al., arXiv 1701.06538): a router gives each token shares of a few of many networks. Tokens
// are grouped by expert, so that each expert computes its own tokens at once and no others.
#pragma once

#include "streamline/nn/weights.h"

namespace streamline {

// The best `active` experts of each row of x, [tokens, hidden], and their shares; both [tokens, active].
struct Routing {
  torch::Tensor expert, share;  // int64; fp32 (fp64 for fp64)
};
Routing route(const ExpertsConfig& config, const RoleTensors& router, const torch::Tensor& x);

// x: [..., hidden], normed → the same shape: the shares' sum over the chosen experts, and the shared one.
torch::Tensor experts_forward(const LayerWeights& weights, const torch::Tensor& x);

}  // namespace streamline
