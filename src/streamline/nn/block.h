// SPDX-License-Identifier: Apache-2.0
// One decoder layer as a function of its configuration, weights and input.
#pragma once

#include "streamline/nn/weights.h"

namespace streamline {

// Rotary tables for positions first … first+seq-1: cos and sin, [seq, head_dim / 2], fp32. Empty when the family has
// no rotary embedding.
struct Positions {
  std::int64_t first = 0;
  torch::Tensor cos = {}, sin = {};
};

// Rotary angles of RoFormer (Su et al. 2021, eq. 15) with the scaling of `rope`; `seq` counts positions first …
// first+seq-1 and decides the base of dynamic scaling.
Positions rope_positions(const Config& config, std::int64_t first, std::int64_t seq, torch::Device device);

// Keys and values of the positions seen so far, [batch, kv_heads, positions, head_dim]; grows by each call.
struct LayerCache {
  torch::Tensor keys = {}, values = {};
  std::int64_t length = 0;  // positions filled
};

// x: [batch, seq, hidden] in the compute dtype; returns the same shape. Causal, and inside the layer's window.
// With gradients enabled and needed, every operation is differentiable with respect to x and the weights; without,
// fused kernels are used where they apply. `cache`, when given, holds the positions before positions.first.
torch::Tensor block_forward(const Config& config, const LayerWeights& weights, const torch::Tensor& x,
                            const Positions& positions, LayerCache* cache = nullptr);

// The halves, without their residual sums: attention(norm(x)), mlp(norm(x)).
torch::Tensor attention_half(const Config& config, const LayerWeights& weights, const torch::Tensor& x,
                             const Positions& positions, LayerCache* cache = nullptr);
torch::Tensor mlp_half(const Config& config, const LayerWeights& weights, const torch::Tensor& x);

}  // namespace streamline
