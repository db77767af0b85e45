// SPDX-License-Identifier: Apache-2.0
// Causal self-attention with grouped queries (Ainslie et al., arXiv 2305.13245), rotary or learned positions, an
// optional sliding window and an optional cache of keys and values.
#pragma once

#include "streamline/nn/block.h"

namespace streamline {

// x: [batch, seq, hidden], normed → [batch, seq, heads * head_dim]: what the output projection reads.
torch::Tensor attend(const Config& config, const LayerWeights& weights, const torch::Tensor& x,
                     const Positions& positions, LayerCache* cache);

// Only what others will look at: the keys and values of x, normed, go into the cache, and nobody attends.
void cache_keys(const Config& config, const LayerWeights& weights, const torch::Tensor& x, const Positions& positions,
                LayerCache& cache);

// Which of `keys` positions each of the last `queries` of them may look at; [queries, keys] of bool, true: may.
torch::Tensor attention_mask(std::int64_t queries, std::int64_t keys, std::optional<std::int64_t> window,
                             torch::Device device);

}  // namespace streamline
