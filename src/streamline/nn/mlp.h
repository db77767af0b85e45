// SPDX-License-Identifier: Apache-2.0
// The feed-forward half of a layer, gated (SwiGLU, Shazeer, arXiv 2002.05202) or plain.
#pragma once

#include "streamline/nn/weights.h"

namespace streamline {

torch::Tensor activate(Activation activation, const torch::Tensor& x);

// x: [..., hidden], normed → [..., intermediate]: what the down projection of an MLP, or of one expert, reads.
torch::Tensor mlp_inner(const MlpConfig& config, const TensorsByRole& weights, const torch::Tensor& x);

}  // namespace streamline
