// SPDX-License-Identifier: Apache-2.0
// Causal attention on CPUs with bfloat16 products (bf16_product.h), without the matrix of scores: blocks of keys pass
// by a block of queries with a running softmax (Dao, arXiv 2307.08691, algorithm 1). Beside libtorch's kernel of the
// same kind it packs keys and values once a group of query heads instead of once a head, stacks the group's queries
// into one product, and skips the keys outside a sliding window.
#pragma once

#include <optional>

#include "streamline/nn/torch.h"

namespace streamline {

// Whether flash_attention serves: bf16 on a CPU with its matrix products, no gradient, more than a few queries.
bool flash_attention_serves(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v);

// q: [batch, queries, heads, head_dim], the last `queries` of the positions that k and v, [batch, keys, kv_heads,
// head_dim], cover. A query sees itself and what lies before it, at most `window` positions in all.
// Returns [batch, queries, heads, head_dim], contiguous.
torch::Tensor flash_attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                              std::optional<std::int64_t> window);

}  // namespace streamline
