// SPDX-License-Identifier: Apache-2.0
// One decoder layer as a function of its configuration, weights and input.
#pragma once

#include <memory>

#include "streamline/nn/packing.h"
#include "streamline/nn/weights.h"

namespace streamline {

// cos and sin of the angles by which pairs of components turn, [seq, pairs], fp32; undefined where nothing turns.
struct RotaryTable {
  torch::Tensor cos = {}, sin = {};
};

// Rotary tables for positions first … first+seq-1, by the layers' RopeUse; or for the rows of a packed batch.
struct Positions {
  std::int64_t first = 0;
  RotaryTable global = {}, local = {};
  std::shared_ptr<const Packing> packing = nullptr;  // of the one row of a batch; then there is no cache

  const RotaryTable& of(RopeUse use) const;
};

// Rotary angles of RoFormer (Su et al. 2021, eq. 15) with the scaling of `rope`; `seq` counts positions first …
// first+seq-1 and decides the base of dynamic scaling.
Positions rope_positions(const Config& config, std::int64_t first, std::int64_t seq, torch::Device device);

// The same for a packed batch. Where the angles depend on the length of the sequence, that of the longest one counts:
// see length_decides_angles().
Positions packed_rope_positions(const Config& config, std::shared_ptr<const Packing> packing, torch::Device device);

// Whether a sequence of `length` tokens is turned by other angles than a shorter one (dynamic and longrope scaling).
bool length_decides_angles(const Config& config, std::int64_t length);

// Keys and values of the positions seen so far, [batch, kv_heads, positions, head_dim]; grows by each call.
struct LayerCache {
  torch::Tensor keys = {}, values = {};
  std::int64_t length = 0;  // positions filled
};

// x: [batch, seq, hidden] in the compute dtype; returns the same shape. Causal, and inside the layer's window.
// With gradients enabled and needed, every operation is differentiable with respect to x and the weights: once, where
// fused kernels apply, which fp32 and bf16 on the CPU use either way. `cache`, when given, holds the positions before
// positions.first.
torch::Tensor block_forward(const Config& config, const LayerWeights& weights, const torch::Tensor& x,
                            const Positions& positions, LayerCache* cache = nullptr);

// What the halves add to the residual stream: the whole path from x, with its norms and the model's multiplier. Not for
// Residual::norm_after_sum, whose halves add nothing: they replace.
torch::Tensor attention_half(const Config& config, const LayerWeights& weights, const torch::Tensor& x,
                             const Positions& positions, LayerCache* cache = nullptr);
torch::Tensor mlp_half(const Config& config, const LayerWeights& weights, const torch::Tensor& x);

// Where a layer's MLP stands when the layer is given x.
struct MlpParts {
  torch::Tensor stream;  // what the MLP's result is added to
  torch::Tensor input;   // what mlp_half() takes
  torch::Tensor normed;  // what the matrices read
};
MlpParts mlp_parts(const Config& config, const LayerWeights& weights, const torch::Tensor& x,
                   const Positions& positions);

}  // namespace streamline
