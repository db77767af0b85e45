// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/attention.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "streamline/base/error.h"
#include "streamline/nn/flash_attention.h"
#include "streamline/nn/kernel_gradients.h"
#include "streamline/nn/kernels.h"
#include "streamline/nn/linear.h"
#include "streamline/nn/norms.h"
#include "streamline/nn/one_query.h"
#include "streamline/nn/rope.h"

namespace streamline {
namespace {

constexpr std::int64_t kCacheStep = 64;  // positions a cache grows by at least

constexpr std::int64_t kQueryBlock = 128;  // queries whose scores are alive at once where they are capped

// [batch, seq, heads, head_dim]; k and v have kv_heads.
struct Projected {
  torch::Tensor q, k, v;
};

Projected split_groups(const AttentionConfig& a, const torch::Tensor& qkv) {
  const std::int64_t group = a.heads / a.kv_heads;
  const auto groups = qkv.unflatten(-1, {a.kv_heads, group + 2, a.head_dim});
  return {groups.narrow(-2, 0, group).flatten(-3, -2), groups.select(-2, group), groups.select(-2, group + 1)};
}

Projected project(const LayerWeights& weights, const torch::Tensor& x) {
  const AttentionConfig& a = *weights.config.attention;
  if (a.layout == QkvLayout::grouped) return split_groups(a, linear(x, weights.at(Role::qkv)));
  const auto heads = [&](const RoleTensors& matrix) { return linear(x, matrix).unflatten(-1, {-1, a.head_dim}); };
  if (a.layout == QkvLayout::apart)
    return {heads(weights.at(Role::q)), heads(weights.at(Role::k)), heads(weights.at(Role::v))};
  const RoleTensors& all = weights.at(Role::qkv);
  const std::int64_t q_width = a.heads * a.head_dim, kv_width = a.kv_heads * a.head_dim;
  return {heads(rows(all, 0, q_width)), heads(rows(all, q_width, kv_width)),
          heads(rows(all, q_width + kv_width, kv_width))};
}

torch::Tensor norm_heads(const Config& config, const LayerWeights& weights, Role role, const torch::Tensor& heads) {
  const QkNorm kind = weights.config.attention->qk_norm;
  if (kind == QkNorm::none) return heads;
  if (kind == QkNorm::unit)  // before turning or after: a rotation leaves it as it is
    return rms_norm(heads, torch::ones({heads.size(-1)}, heads.options()), config.norm_epsilon, 0);
  const auto norm = [&](const torch::Tensor& x) {
    return rms_norm(x, weights.at(role).weight, config.norm_epsilon, config.family->traits.norm_offset);
  };
  return kind == QkNorm::head ? norm(heads) : norm(heads.flatten(-2)).view_as(heads);
}

torch::Tensor turn(const Config& config, torch::Tensor heads, const RotaryTable& table) {
  if (!table.cos.defined()) return heads;
  const bool neighbours = config.family->traits.neighbours_rotate;
  if (neighbours || !kernels::serve({heads})) return rotate(heads, table, neighbours);
  if (needs_gradient({heads})) return kernels::recorded_rotation(heads, table.cos, table.sin);
  heads = heads.contiguous();
  kernels::rotate(heads, table.cos, table.sin);
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

// libtorch's own attention: every type and device. Shapes as flash_attention's.
torch::Tensor library_attention(const torch::Tensor& q, torch::Tensor k, torch::Tensor v,
                                std::optional<std::int64_t> window, std::optional<double> scale) {
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
      /*is_causal=*/!mask && whole_sequence, scale, /*enable_gqa=*/q.size(2) != k.size(2));
  return out.transpose(1, 2);
}

// Attention whose scores are capped, cap * tanh(score / cap), a block of queries at a time. Shapes as
// flash_attention's.
torch::Tensor capped_attention(const AttentionConfig& a, const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v) {
  const std::int64_t queries = q.size(1), before = k.size(1) - queries, group = a.heads / a.kv_heads;
  const double scale = a.scale.value_or(1 / std::sqrt(static_cast<double>(a.head_dim)));
  std::vector<torch::Tensor> blocks;
  for (std::int64_t first = 0; first < queries; first += kQueryBlock) {
    const std::int64_t count = std::min(kQueryBlock, queries - first), last_key = before + first + count;
    const std::int64_t first_key = a.window ? std::max<std::int64_t>(0, before + first + 1 - *a.window) : 0;
    const auto keys = k.narrow(1, first_key, last_key - first_key), values = v.narrow(1, first_key, keys.size(1));
    const auto block = q.narrow(1, first, count).unflatten(2, {a.kv_heads, group}).permute({0, 2, 3, 1, 4});
    auto scores = torch::matmul(block.flatten(2, 3), keys.permute({0, 2, 3, 1}));  // [batch, kv_heads, rows, keys]
    scores = (scores.to(accumulation_type(q.scalar_type())) * (scale / a.softcap)).tanh() * a.softcap;
    const auto mask = attention_mask(count, keys.size(1), a.window, q.device());
    scores = scores.unflatten(2, {group, count}).masked_fill(mask.logical_not(), -INFINITY);
    const auto shares = scores.softmax(-1).to(q.scalar_type()).flatten(2, 3);
    const auto out = torch::matmul(shares, values.transpose(1, 2));  // [batch, kv_heads, rows, head_dim]
    blocks.push_back(out.unflatten(2, {group, count}).permute({0, 3, 1, 2, 4}).flatten(2, 3));
  }
  return torch::cat(blocks, 1);  // [batch, queries, heads, head_dim]
}

// Positions of the rows of x in their sequences, [rows].
torch::Tensor row_positions(const Positions& positions, std::int64_t rows, torch::Device device) {
  if (positions.packing) return packed_positions(*positions.packing).to(device);
  return torch::arange(positions.first, positions.first + rows, torch::TensorOptions(torch::kLong).device(device));
}

// Longer contexts sharpen the attention (Nakanishi, arXiv 2501.19399). q: [batch, rows, heads, head_dim].
torch::Tensor heated(const QueryTemperature& temperature, const torch::Tensor& q, const Positions& positions) {
  const auto type = accumulation_type(q.scalar_type());
  const auto steps = ((row_positions(positions, q.size(1), q.device()).to(type) + 1) / temperature.floor).floor();
  const auto factor = steps.log1p() * temperature.scale + 1;
  return (q * factor.unsqueeze(1).unsqueeze(1)).to(q.scalar_type());
}

torch::Tensor attention(const AttentionConfig& a, const torch::Tensor& q, const torch::Tensor& k,
                        const torch::Tensor& v);

// Chunk by chunk, each a sequence of its own. Keys are those from position 0 on.
torch::Tensor chunked_attention(AttentionConfig a, const torch::Tensor& q, const torch::Tensor& k,
                                const torch::Tensor& v) {
  const std::int64_t chunk = *std::exchange(a.chunk, std::nullopt), keys = k.size(1), before = keys - q.size(1);
  std::vector<torch::Tensor> parts;
  for (std::int64_t first = before; first < keys;) {
    const std::int64_t start = first / chunk * chunk, end = std::min(keys, start + chunk);
    parts.push_back(attention(a, q.narrow(1, first - before, end - first), k.narrow(1, start, end - start),
                              v.narrow(1, start, end - start)));
    first = end;
  }
  return parts.empty() ? torch::empty_like(q) : torch::cat(parts, 1);
}

torch::Tensor attention(const AttentionConfig& a, const torch::Tensor& q, const torch::Tensor& k,
                        const torch::Tensor& v) {
  if (a.chunk && k.size(1) > *a.chunk) return chunked_attention(a, q, k, v);
  const FlashOptions options{.window = a.window, .scale = a.scale, .softcap = a.softcap};
  if (one_query_applies(q, k, v)) return one_query_attention(q, k, v, options);
  if (a.scale.value_or(1) > 0 && flash_attention_pays(q, k, v)) {
    return needs_gradient({q, k, v}) ? kernels::recorded_attention(q, k, v, options)
                                     : flash_attention(q, k, v, options);
  }
  if (a.softcap != 0) return capped_attention(a, q, k, v);
  return library_attention(q, k, v, a.window, a.scale);
}

// Each piece's queries over the keys of its lineage and its own. q, k, v: [1, rows, heads or kv_heads, head_dim].
torch::Tensor packed_attention(const AttentionConfig& a, const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v, const Packing& packing) {
  auto out = torch::empty_like(q, torch::MemoryFormat::Contiguous);
  for (std::size_t i = 0; i < packing.pieces.size(); ++i) {
    const PackedPiece& piece = packing.pieces[i];
    if (piece.count == 0) continue;
    std::vector<torch::Tensor> keys, values;
    for (const std::int64_t index : lineage(packing, static_cast<std::int64_t>(i))) {
      const PackedPiece& seen = packing.pieces[static_cast<std::size_t>(index)];
      keys.push_back(k.narrow(1, seen.first, seen.count));
      values.push_back(v.narrow(1, seen.first, seen.count));
    }
    const auto joined = [](const std::vector<torch::Tensor>& parts) {
      return parts.size() == 1 ? parts.front() : torch::cat(parts, 1);
    };
    out.narrow(1, piece.first, piece.count)
        .copy_(attention(a, q.narrow(1, piece.first, piece.count), joined(keys), joined(values)));
  }
  return out;
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
  const AttentionConfig& a = *weights.config.attention;
  const RotaryTable& table = positions.of(a.rope);
  auto [q, k, v] = project(weights, x);
  q = turn(config, norm_heads(config, weights, Role::q_norm, q), table);
  k = turn(config, norm_heads(config, weights, Role::k_norm, k), table);
  if (a.temperature) q = heated(*a.temperature, q, positions);
  if (positions.packing) {
    SL_ASSERT(!cache && x.size(0) == 1 && x.size(1) == positions.packing->rows());
    return packed_attention(a, q, k, v, *positions.packing).flatten(2);
  }
  if (cache) {
    SL_ASSERT(positions.first == cache->length);
    extend(*cache, k, v);
  }
  return attention(a, q, k, v).flatten(2);
}

void cache_keys(const Config& config, const LayerWeights& weights, const torch::Tensor& x, const Positions& positions,
                LayerCache& cache) {
  const AttentionConfig& a = *weights.config.attention;
  const auto heads = [&](Role role) { return linear(x, weights.at(role)).unflatten(-1, {-1, a.head_dim}); };
  Projected parts = a.layout == QkvLayout::apart ? Projected{{}, heads(Role::k), heads(Role::v)} : project(weights, x);
  parts.k = turn(config, norm_heads(config, weights, Role::k_norm, parts.k), positions.of(a.rope));
  SL_ASSERT(positions.first == cache.length);
  extend(cache, parts.k, parts.v);
}

}  // namespace streamline
