// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/attention.h"

#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/nn/flash_attention.h"
#include "streamline/nn/kernels.h"
#include "streamline/nn/linear.h"
#include "streamline/nn/norms.h"
#include "streamline/nn/rope.h"

namespace streamline {
namespace {

constexpr std::int64_t kCacheStep = 64;  // positions a cache grows by at least

// [batch, seq, heads * head_dim] → [batch, seq, heads, head_dim], normed and turned where the model says so.
torch::Tensor project(const Config& config, const LayerWeights& weights, Role role, Role norm_role,
                      const torch::Tensor& x, const Positions& positions) {
  auto heads = linear(x, weights.at(role)).unflatten(-1, {-1, weights.config.attention->head_dim});
  if (weights.has(norm_role)) heads = rms_norm(heads, weights.at(norm_role).weight, config.norm_epsilon);
  if (!positions.cos.defined()) return heads;
  if (!kernels::apply_to({heads})) return rotate(heads, positions);
  kernels::rotate(heads, positions.cos, positions.sin);
  return heads;
}

// Room for `positions` in all, keeping what is there; grows geometrically, so that a token costs no copy on average.
void reserve(LayerCache& cache, const torch::Tensor& like, std::int64_t positions) {
  const std::int64_t capacity = cache.keys.defined() ? cache.keys.size(2) : 0;
  if (capacity >= positions) return;
  const std::int64_t grown = std::max({positions, 2 * capacity, kCacheStep});
  const auto grow = [&](torch::Tensor& tensor) {
    auto larger = torch::empty({like.size(0), like.size(1), grown, like.size(3)}, like.options());
    if (cache.length > 0) larger.narrow(2, 0, cache.length).copy_(tensor.narrow(2, 0, cache.length));
    tensor = larger;
  };
  grow(cache.keys);
  grow(cache.values);
}

// Appends keys and values ([batch, seq, kv_heads, head_dim]) and replaces them by all that the cache then holds.
void extend(LayerCache& cache, torch::Tensor& keys, torch::Tensor& values) {
  const auto new_keys = keys.transpose(1, 2), new_values = values.transpose(1, 2);
  const std::int64_t seq = new_keys.size(2);
  reserve(cache, new_keys, cache.length + seq);
  cache.keys.narrow(2, cache.length, seq).copy_(new_keys);
  cache.values.narrow(2, cache.length, seq).copy_(new_values);
  cache.length += seq;
  keys = cache.keys.narrow(2, 0, cache.length).transpose(1, 2);
  values = cache.values.narrow(2, 0, cache.length).transpose(1, 2);
}

// libtorch's own attention: every type and device, and gradients. Shapes as flash_attention's.
torch::Tensor library_attention(const torch::Tensor& q, torch::Tensor k, torch::Tensor v,
                                std::optional<std::int64_t> window) {
  const std::int64_t queries = q.size(1);
  if (window && queries == 1 && k.size(1) > *window) {  // one token: no mask, only its window's keys
    k = k.narrow(1, k.size(1) - *window, *window);
    v = v.narrow(1, v.size(1) - *window, *window);
  }
  const std::int64_t keys = k.size(1);
  const bool whole_sequence = queries == keys, window_cuts = window && *window < keys;
  std::optional<torch::Tensor> mask;
  if (window_cuts || (!whole_sequence && queries > 1)) mask = attention_mask(queries, keys, window, q.device());
  const auto out = at::scaled_dot_product_attention(
      q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask, /*dropout_p=*/0.0,
      /*is_causal=*/!mask && whole_sequence, /*scale=*/std::nullopt, /*enable_gqa=*/q.size(2) != k.size(2));
  return out.transpose(1, 2);
}

}  // namespace

torch::Tensor attention_mask(std::int64_t queries, std::int64_t keys, std::optional<std::int64_t> window,
                             torch::Device device) {
  const auto integers = torch::TensorOptions(torch::kLong).device(device);
  const auto query = torch::arange(keys - queries, keys, integers).unsqueeze(1);  // [queries, 1]
  const auto distance = query - torch::arange(keys, integers);                    // [queries, keys]
  auto allowed = distance.ge(0);
  if (window) allowed = allowed & distance.lt(*window);
  return allowed;
}

torch::Tensor attend(const Config& config, const LayerWeights& weights, const torch::Tensor& x,
                     const Positions& positions, LayerCache* cache) {
  const AttentionConfig& attention = *weights.config.attention;
  const auto q = project(config, weights, Role::q, Role::q_norm, x, positions);  // [batch, seq, heads, head_dim]
  auto k = project(config, weights, Role::k, Role::k_norm, x, positions);        // [batch, seq, kv_heads, head_dim]
  auto v = linear(x, weights.at(Role::v)).unflatten(-1, {-1, attention.head_dim});
  if (cache) {
    SL_ASSERT(positions.first == cache->length);
    extend(*cache, k, v);
  }
  const bool flash = flash_attention_serves(q, k, v);
  return (flash ? flash_attention(q, k, v, attention.window) : library_attention(q, k, v, attention.window)).flatten(2);
}

}  // namespace streamline
