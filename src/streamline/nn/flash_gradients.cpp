// SPDX-License-Identifier: Apache-2.0
// The way back of flash_attention. With S the scores in units of log2, L their rows' log_sums and D = rowsum(dO * O):
//   P = 2^(S - L),  dV = P^T dO,  dS = P * (dO V^T - D) [* 1 - (S / cap)^2],  dQ = dS K scale,  dK = dS^T Q scale.
// One thread takes all queries of a head of keys and values, or a part of them that the shapes alone decide, so that
// the sums of dK and dV (over a group's heads too) are made in one order. They are kept transposed, [head_dim, keys]:
// then P and dS are right-hand sides, which the loop that makes them lays out, and only blocks of Q and dO have to be
// turned.
#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "streamline/base/error.h"
#include "streamline/base/simd.h"
#include "streamline/nn/flash_attention.h"
#include "streamline/nn/flash_blocks.h"
#include "streamline/nn/kernel_walk.h"

namespace streamline {
namespace flash {
namespace {

constexpr Index kRowStep = 8;  // rows that a product takes together; a block is filled up with zeros

// Of a block of rows: L and D, [rows].
struct RowSums {
  const float *log_sums, *products;
};

// What a tile gives: right-hand sides of depth `rows`, and dS as a left-hand side, [rows, stride], which for fp32 is
// the same as `slopes_packed`.
template <class T>
struct TileGradients {
  T *shares_packed, *slopes_packed, *slopes;
};

// Finite numbers rounded to the nearest, ties away from zero, side by side.
SL_INLINE std::uint32_t pair_of(float low, float high) {
  const std::uint32_t low_bits = std::bit_cast<std::uint32_t>(low) + 0x8000u;
  const std::uint32_t high_bits = std::bit_cast<std::uint32_t>(high) + 0x8000u;
  return (high_bits & 0xffff0000u) | low_bits >> 16;
}

// P and dS of one element.
struct Element {
  float share, slope;
};
template <class T, bool caps>
SL_INLINE Element element(float score, float gradient, float log_sum, float product, const ScoreScale& scale) {
  const float share = exp2_of<T>((caps ? score : score * scale.factor) - log_sum);
  float slope = share * (gradient - product);
  if constexpr (caps) {
    const float tanh = score / scale.cap, derivative = 1.0f - tanh * tanh;  // of one out of sight: minus infinity
    slope *= derivative > 0 ? derivative : 0.0f;
  }
  return {share, slope};
}

template <bool caps>
SL_INLINE void element_rows(const float* __restrict scores, const float* __restrict gradients, const RowSums& sums,
                            const ScoreScale& scale, Index stride, Index row, Index begin, Index end,
                            const TileGradients<float>& to) {
  float* __restrict shares = to.shares_packed + row * stride;
  float* __restrict slopes = to.slopes_packed + row * stride;
  const float log_sum = sums.log_sums[row], product = sums.products[row];
  for (Index i = begin; i < end; ++i) {
    const Element e = element<float, caps>(scores[i], gradients[i], log_sum, product, scale);
    shares[i] = e.share;
    slopes[i] = e.slope;
  }
}

template <bool caps>
SL_INLINE void element_rows(const float* __restrict scores, const float* __restrict gradients, const RowSums& sums,
                            const ScoreScale& scale, Index stride, Index row, Index begin, Index end,
                            const TileGradients<Bf16>& to) {
  auto* __restrict shares = reinterpret_cast<std::uint32_t*>(to.shares_packed + row * stride);
  auto* __restrict slopes = reinterpret_cast<std::uint32_t*>(to.slopes_packed + row * stride);
  Bf16* __restrict even_slopes = to.slopes + row * stride;
  Bf16* __restrict odd_slopes = even_slopes + stride;
  const float even_sum = sums.log_sums[row], odd_sum = sums.log_sums[row + 1];
  const float even_product = sums.products[row], odd_product = sums.products[row + 1];
  for (Index i = begin; i < end; ++i) {
    const Element even = element<Bf16, caps>(scores[i], gradients[i], even_sum, even_product, scale);
    const Element odd = element<Bf16, caps>(scores[stride + i], gradients[stride + i], odd_sum, odd_product, scale);
    shares[i] = pair_of(even.share, odd.share);
    slopes[i] = pair_of(even.slope, odd.slope);
    even_slopes[i] = static_cast<Bf16>(slopes[i]);
    odd_slopes[i] = static_cast<Bf16>(slopes[i] >> 16);
  }
}

// scores and gradients (of the shares): [rows, stride]; rows in kPacks. Scores out of sight are overwritten.
template <class T>
SL_INLINE void gradient_tile_body(const Tile& tile, const ScoreScale& scale, const RowSums& sums, float* scores,
                                  const float* gradients, const TileGradients<T>& to) {
  constexpr Index pack = kPack<T>;
  const Index stride = tile.stride;
  for (Index row = 0; row < tile.rows; row += pack, scores += pack * stride, gradients += pack * stride) {
    Index begin = tile.columns, end = 0;
    for (Index i = 0; i < pack; ++i) {
      const auto [low, high] = sight(tile, row + i);
      if (low == high) continue;
      begin = std::min(begin, low / kLanes * kLanes);
      end = std::max(end, rounded_up(high, kLanes));
    }
    begin = std::min(begin, end);
    for (Index i = 0; i < pack; ++i) {
      const auto [low, high] = sight(tile, row + i);
      float* here = scores + i * stride;
      std::fill(here + begin, here + std::clamp(low, begin, end), kUnseen);
      std::fill(here + std::clamp(high, begin, end), here + end, kUnseen);
    }
    for (T* all : {to.shares_packed, to.slopes_packed}) {
      std::fill(all + row * stride, all + row * stride + pack * begin, T{0});
      std::fill(all + row * stride + pack * end, all + row * stride + pack * tile.columns, T{0});
    }
    if constexpr (pack > 1)
      for (Index i = row; i < row + pack; ++i) {
        std::fill(to.slopes + i * stride, to.slopes + i * stride + begin, T{0});
        std::fill(to.slopes + i * stride + end, to.slopes + i * stride + tile.columns, T{0});
      }
    if (scale.caps())
      element_rows<true>(scores, gradients, sums, scale, stride, row, begin, end, to);
    else
      element_rows<false>(scores, gradients, sums, scale, stride, row, begin, end, to);
  }
}

// Rows, [count, head_dim], turned to [head_dim, count] with rows `stride` apart; bf16 two rows at a time.
SL_INLINE void turn_rows_body(const float* rows, Index count, Index head_dim, Index stride, float* turned) {
  for (Index row = 0; row < count; ++row, rows += head_dim)
    for (Index d = 0; d < head_dim; ++d) turned[d * stride + row] = rows[d];
}
SL_INLINE void turn_rows_body(const Bf16* rows, Index count, Index head_dim, Index stride, Bf16* turned) {
  auto* pairs = reinterpret_cast<std::uint32_t*>(turned);
  for (Index pair = 0; pair < count / 2; ++pair, rows += 2 * head_dim)
    for (Index d = 0; d < head_dim; ++d)
      pairs[d * (stride / 2) + pair] = rows[d] | static_cast<std::uint32_t>(rows[head_dim + d]) << 16;
}

template <class T>
SL_INLINE void row_product_body(const T* a, const T* b, Index width, float* product) {
  constexpr Index kSums = 16;  // of which head_dim is a multiple
  float lanes[kSums] = {};
  for (Index i = 0; i < width; i += kSums)
    for (Index j = 0; j < kSums; ++j) lanes[j] += simd::load(a + i + j) * simd::load(b + i + j);
  *product = simd::sum(lanes);
}

template <class T>
SL_INLINE void scale_row_body(const float* row, float factor, Index count, T* result) {
  for (Index i = 0; i < count; ++i) simd::store(result + i, row[i] * factor);
}

// Sums of one head, [key block][head_dim][keys], to rows `stride` apart.
template <class T>
SL_INLINE void unpack_sums_body(const float* sums, float factor, const Shape& shape, Index stride, T* result) {
  const Index block = shape.key_block(), head_dim = shape.head_dim;
  for (Index key = 0; key < shape.keys; ++key) {
    const float* from = sums + key / block * block * head_dim + key % block;
    for (Index d = 0; d < head_dim; ++d) simd::store(result + key * stride + d, from[d * block] * factor);
  }
}

SL_INLINE void add_sums_body(const float* __restrict more, Index count, float* __restrict sums) {
  for (Index i = 0; i < count; ++i) sums[i] += more[i];
}
SL_DISPATCH(add_sums, (const float* more, Index count, float* sums), (more, count, sums))

#define SL_FLASH_GRADIENTS(T)                                                                                         \
  SL_DISPATCH(gradient_tile,                                                                                          \
              (const Tile& tile, const ScoreScale& scale, const RowSums& sums, float* scores, const float* gradients, \
               const TileGradients<T>& to),                                                                           \
              (tile, scale, sums, scores, gradients, to))                                                             \
  SL_DISPATCH(turn_rows, (const T* rows, Index count, Index head_dim, Index stride, T* turned),                       \
              (rows, count, head_dim, stride, turned))                                                                \
  SL_DISPATCH(row_product, (const T* a, const T* b, Index width, float* product), (a, b, width, product))             \
  SL_DISPATCH(scale_row, (const float* row, float factor, Index count, T* result), (row, factor, count, result))      \
  SL_DISPATCH(unpack_sums, (const float* sums, float factor, const Shape& shape, Index stride, T* result),            \
              (sums, factor, shape, stride, result))
SL_FLASH_GRADIENTS(float)
SL_FLASH_GRADIENTS(Bf16)
#undef SL_FLASH_GRADIENTS

// What a thread works in. Queries and gradients (of the output) are a block's rows, also turned; the rest is a tile's.
template <class T>
struct BackScratch {
  Index rows;
  std::vector<T> queries, gradients, turned_queries, turned_gradients, shares_packed, slopes_packed, slopes;
  std::vector<float> scores, share_gradients, log_sums, products, query_sums;
  std::vector<T> keys_across, values_across, keys_along;  // of one head
  std::vector<float> own_sums;
  float *key_sums, *value_sums;  // of one head or a part of its queries, [key block][head_dim][keys]
  explicit BackScratch(const Shape& shape) : rows(rounded_up(shape.query_block() * shape.group(), kRowStep)) {
    const auto block = static_cast<std::size_t>(rows * shape.head_dim),
               tile = static_cast<std::size_t>(rows * shape.key_block());
    for (auto* part : {&queries, &gradients, &turned_queries, &turned_gradients}) part->resize(block);
    for (auto* part : {&shares_packed, &slopes_packed, &slopes}) part->resize(tile);
    for (auto* part : {&scores, &share_gradients}) part->resize(tile);
    for (auto* part : {&log_sums, &products}) part->resize(static_cast<std::size_t>(rows));
    query_sums.resize(block);
    for (auto* part : {&keys_across, &values_across, &keys_along})
      part->resize(static_cast<std::size_t>(shape.packed_size()));
    own_sums.resize(static_cast<std::size_t>(2 * shape.packed_size()));
    sum_into(shape, own_sums.data());
  }
  void sum_into(const Shape& shape, float* sums) {
    key_sums = sums;
    value_sums = sums + shape.packed_size();
  }
};

template <class T>
struct Inputs {
  Rows<T> q, k, v, gradient;
  const T* out;           // [batch, queries, heads, head_dim]
  const float* log_sums;  // [batch, queries, heads]
};

template <class T>
struct Outputs {
  T *q, *k, *v;  // contiguous
};

// A block of queries of one group: its rows into the scratch, filled up with zeros (whose shares are 1 and meet zeros).
template <class T>
Index gather_block(const Shape& shape, const Inputs<T>& in, Index batch, Index kv_head, Index first, Index rows,
                   BackScratch<T>& s) {
  const Index dim = shape.head_dim, group = shape.group(), filled = rounded_up(rows, kRowStep);
  for (Index row = 0; row < rows; ++row) {
    const Index query = first + row / group, head = kv_head * group + row % group;
    const Index at = (batch * shape.queries + query) * shape.heads + head;
    const T* q = in.q.at(batch, query, head);
    const T* gradient = in.gradient.at(batch, query, head);
    std::copy(q, q + dim, s.queries.data() + row * dim);
    std::copy(gradient, gradient + dim, s.gradients.data() + row * dim);
    s.log_sums[static_cast<std::size_t>(row)] = in.log_sums[at];
    row_product(gradient, in.out + at * dim, dim, &s.products[static_cast<std::size_t>(row)]);
  }
  for (auto* part : {&s.queries, &s.gradients}) std::fill(part->data() + rows * dim, part->data() + filled * dim, T{0});
  for (auto* part : {&s.log_sums, &s.products}) std::fill(part->data() + rows, part->data() + filled, 0.0f);
  turn_rows(s.queries.data(), filled, dim, s.rows, s.turned_queries.data());
  turn_rows(s.gradients.data(), filled, dim, s.rows, s.turned_gradients.data());
  return filled;
}

// One tile's part of all three gradients. `key` is its first.
template <class T>
void add_tile(const Tile& tile, const ScoreScale& scale, BackScratch<T>& s) {
  const Index rows = tile.rows, columns = tile.columns, dim = tile.head_dim, at = tile.first_key * dim;
  T* slopes = kPack<T> == 1 ? s.slopes_packed.data() : s.slopes.data();
  product({rows, columns, dim, dim, tile.stride, tile.stride}, s.queries.data(), s.keys_across.data() + at,
          s.scores.data(),
          /*add=*/false);
  product({rows, columns, dim, dim, tile.stride, tile.stride}, s.gradients.data(), s.values_across.data() + at,
          s.share_gradients.data(), /*add=*/false);
  if (scale.caps()) cap_scores(tile, scale, s.scores.data());
  gradient_tile(tile, scale, {s.log_sums.data(), s.products.data()}, s.scores.data(), s.share_gradients.data(),
                {s.shares_packed.data(), s.slopes_packed.data(), slopes});
  const ProductShape turned{dim, columns, rows, s.rows, tile.stride, tile.stride};
  product(turned, s.turned_gradients.data(), s.shares_packed.data(), s.value_sums + at, /*add=*/true);
  product(turned, s.turned_queries.data(), s.slopes_packed.data(), s.key_sums + at, /*add=*/true);
  product({rows, dim, columns, tile.stride, dim, dim}, slopes, s.keys_along.data() + at, s.query_sums.data(),
          /*add=*/true);
}

// Every `of`-th block of a head's queries, from the `index`-th on.
struct Part {
  Index index, of;
};

// Enough for some sixteen threads, and of so many rows each that what every part does anew costs little.
Index parts_of(const Shape& shape) {
  constexpr Index kTasks = 16, kPartRows = 4096;
  const Index heads = std::max<Index>(1, shape.batch * shape.kv_heads);
  return std::max<Index>(1, std::min(kTasks / heads, shape.queries * shape.group() / kPartRows));
}

// The gradients of one part of the queries of one head of keys and values, and the part's sums of those of the keys and
// values.
template <class T>
void differentiate_part(const Shape& shape, const ScoreScale& scale, float slope_scale, const Inputs<T>& in,
                        Index kv_index, Part part, BackScratch<T>& s, T* q_gradient) {
  const Index dim = shape.head_dim, group = shape.group(), block = shape.query_block(), step = shape.key_block();
  const Index batch = kv_index / shape.kv_heads, kv_head = kv_index % shape.kv_heads;
  pack_across(in.k.at(batch, 0, kv_head), in.k.position_stride, shape, s.keys_across.data());
  pack_across(in.v.at(batch, 0, kv_head), in.v.position_stride, shape, s.values_across.data());
  pack_along(in.k.at(batch, 0, kv_head), in.k.position_stride, shape, s.keys_along.data());
  for (float* sums : {s.key_sums, s.value_sums}) std::fill(sums, sums + shape.packed_size(), 0.0f);
  for (Index first = part.index * block; first < shape.queries; first += part.of * block) {
    const Index count = std::min(block, shape.queries - first), first_position = shape.before() + first;
    const Index rows = gather_block(shape, in, batch, kv_head, first, count * group, s);
    std::fill(s.query_sums.begin(), s.query_sums.end(), 0.0f);
    const Index last_key = first_position + count;
    const Index first_key = std::max<Index>(0, first_position + 1 - shape.window) / step * step;
    for (Index key = first_key; key < last_key; key += step)
      add_tile<T>({rows, std::min(step, rounded_up(last_key - key, kLanes)), key, first_position, group, shape.window,
                   dim, step},
                  scale, s);
    for (Index row = 0; row < count * group; ++row) {
      const Index query = batch * shape.queries + first + row / group, head = kv_head * group + row % group;
      scale_row(s.query_sums.data() + row * dim, slope_scale, dim, q_gradient + (query * shape.heads + head) * dim);
    }
  }
}

// Sums of the keys' and then of the values' gradients of one head.
template <class T>
void store_sums(const Shape& shape, float slope_scale, Index kv_index, const float* sums, const Outputs<T>& out) {
  const Index batch = kv_index / shape.kv_heads, kv_head = kv_index % shape.kv_heads;
  const Index stride = shape.kv_heads * shape.head_dim, to = batch * shape.keys * stride + kv_head * shape.head_dim;
  unpack_sums(sums, slope_scale, shape, stride, out.k + to);
  unpack_sums(sums + shape.packed_size(), 1.0f, shape, stride, out.v + to);
}

template <class T>
void differentiate_all(const Shape& shape, const ScoreScale& scale, float slope_scale, const Inputs<T>& in,
                       const Outputs<T>& out) {
  const Index heads = shape.batch * shape.kv_heads, parts = parts_of(shape), size = 2 * shape.packed_size();
  std::vector<float> sums(static_cast<std::size_t>(parts > 1 ? heads * parts * size : 0));
  at::parallel_for(0, heads * parts, 1, [&](Index begin, Index end) {
    BackScratch<T> scratch(shape);
    for (Index i = begin; i < end; ++i) {
      if (parts > 1) scratch.sum_into(shape, sums.data() + i * size);
      differentiate_part<T>(shape, scale, slope_scale, in, i / parts, {i % parts, parts}, scratch, out.q);
      if (parts == 1) store_sums(shape, slope_scale, i, scratch.key_sums, out);
    }
    bf16_products_done();
  });
  if (parts == 1) return;
  at::parallel_for(0, heads, 1, [&](Index begin, Index end) {
    for (Index head = begin; head < end; ++head) {
      float* total = sums.data() + head * parts * size;
      for (Index part = 1; part < parts; ++part) add_sums(total + part * size, size, total);
      store_sums(shape, slope_scale, head, total, out);
    }
  });
}

}  // namespace
}  // namespace flash

AttentionGradients flash_attention_gradients(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                                             const torch::Tensor& out, const torch::Tensor& log_sums,
                                             const torch::Tensor& gradient, const FlashOptions& options) {
  const flash::Shape shape = flash::shape_of(q, k, v, options);
  const double scale = flash::scale_of(shape, options);
  const flash::ScoreScale scores(scale, options.softcap);
  const auto rows = gradient.stride(3) == 1 ? gradient : gradient.contiguous();
  SL_ASSERT(out.is_contiguous() && log_sums.is_contiguous() && gradient.sizes() == q.sizes());
  const auto like = [](const torch::Tensor& t) { return torch::empty(t.sizes(), t.options()); };
  AttentionGradients result{like(q), like(k), like(v)};
  kernels::with_type(q, [&]<class T>(T*) {
    const flash::Inputs<T> in{flash::Rows<T>(q),    flash::Rows<T>(k),     flash::Rows<T>(v),
                              flash::Rows<T>(rows), kernels::data<T>(out), kernels::data<float>(log_sums)};
    const flash::Outputs<T> to{kernels::data<T>(result.q), kernels::data<T>(result.k), kernels::data<T>(result.v)};
    flash::differentiate_all<T>(shape, scores, static_cast<float>(scale), in, to);
  });
  return result;
}

}  // namespace streamline
