// SPDX-License-Identifier: Apache-2.0
// The oracle of the attention kernels: the softmax written out in float64, differentiable.
#pragma once

#include "streamline/nn/flash_attention.h"

namespace streamline::test {

// Shapes as flash_attention's, any type; returns double.
torch::Tensor softmax_attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                                const FlashOptions& options);

// Shapes of one call of attention, and its options.
struct AttentionCase {
  std::int64_t batch, queries, keys, heads, kv_heads, head_dim;
  FlashOptions options = {};
};
// Standard normal q, k and v.
std::vector<torch::Tensor> attention_inputs(const AttentionCase& shape, torch::ScalarType type);

}  // namespace streamline::test
