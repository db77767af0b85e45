// SPDX-License-Identifier: Apache-2.0
// Causal attention on CPUs with matrix products of small blocks (bf16_product.h), without the matrix of scores: blocks
// of keys pass by a block of queries with a running softmax (Dao, arXiv 2307.08691, algorithm 1). Beside libtorch's
// kernel of the same kind it packs keys and values once a group of query heads instead of once a head, stacks the
// group's queries into one product, and skips the keys outside a sliding window.
#pragma once

#include <optional>

#include "streamline/nn/torch.h"

namespace streamline {

struct FlashOptions {
  std::optional<std::int64_t> window = {};  // positions that a query sees, itself and what lies before it
  std::optional<double> scale = {};         // of the scores; 1 / sqrt(head_dim) unless given
  double softcap = 0;                       // if not 0, scores are softcap * tanh(score / softcap)
};

// Whether there are kernels for these tensors: fp32 or bf16 on a CPU with block products of the type.
bool flash_attention_serves(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v);

// Whether they are to be taken, with kernels::recorded_attention where a gradient is wanted: they serve, and they were
// measured to be faster than libtorch's (docs/performance.md).
bool flash_attention_pays(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v);

// q: [batch, queries, heads, head_dim], the last `queries` of the positions that k and v, [batch, keys, kv_heads,
// head_dim], cover; the scale is above 0. Returns [batch, queries, heads, head_dim], contiguous. Records nothing for
// autograd; see kernels::recorded_attention. `log_sums`, if given, receives log2 of each row's sum of 2^(score
// log2(e)), [batch, queries, heads], fp32.
torch::Tensor flash_attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                              const FlashOptions& options, torch::Tensor* log_sums = nullptr);

struct AttentionGradients {
  torch::Tensor q, k, v;
};

// The gradients of flash_attention(q, k, v, options), which gave `out` and `log_sums`; `gradient` is that of `out`.
// Probabilities are computed anew block by block (Dao, arXiv 2307.08691, algorithm 2). Equal runs give equal bits,
// whatever the number of threads.
AttentionGradients flash_attention_gradients(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                                             const torch::Tensor& out, const torch::Tensor& log_sums,
                                             const torch::Tensor& gradient, const FlashOptions& options);

}  // namespace streamline
