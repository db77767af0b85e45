// SPDX-License-Identifier: Apache-2.0
// What the attention kernels' two ways share: the shape of the work, where rows lie, keys and values laid out for
// products, and which keys a query sees. T is float or simd::Bf16.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numbers>
#include <type_traits>

#include "streamline/nn/bf16_product.h"
#include "streamline/nn/flash_attention.h"
#include "streamline/nn/torch.h"

namespace streamline::flash {

using simd::Bf16;
using Index = std::int64_t;

inline constexpr Index kMostKeys = 256;   // keys that pass by together
inline constexpr Index kRows = 128;       // queries times heads of a group that share a product
inline constexpr Index kQueries = 64;     // queries among them at most, since the first sees as many keys fewer
inline constexpr Index kLanes = 32;       // floats of a row that the loops take together
inline constexpr float kUnseen = -1e30f;  // a score whose probability is zero

// How many numbers of the summed side lie side by side in a product's right-hand operand.
template <class T>
inline constexpr Index kPack = 1;
template <>
inline constexpr Index kPack<Bf16> = 2;

inline void product(const ProductShape& shape, const Bf16* a, const Bf16* b, float* c, bool add) {
  bf16_product(shape, a, b, c, add);
}
inline void product(const ProductShape& shape, const float* a, const float* b, float* c, bool add) {
  float_product(shape, a, b, c, add);
}

SL_INLINE Index rounded_up(Index count, Index step) { return (count + step - 1) / step * step; }

struct Shape {
  Index batch, queries, keys, heads, kv_heads, head_dim, window;
  Index group() const { return heads / kv_heads; }
  Index query_block() const { return std::clamp<Index>(kRows / group(), 1, kQueries); }
  Index key_block() const { return std::clamp(rounded_up(keys, kLanes), kLanes, kMostKeys); }
  Index packed_size() const { return rounded_up(keys, key_block()) * head_dim; }  // of the keys or values of one head
  Index before() const { return keys - queries; }                                 // positions without a query
};
Shape shape_of(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v, const FlashOptions& options);
double scale_of(const Shape& shape, const FlashOptions& options);

// 2^x for x <= 0, as exactly as T keeps it.
template <class T>
SL_INLINE float exp2_of(float x) {
  if constexpr (kPack<T> == 2) return simd::exp2_coarse(x);
  return simd::exp2(x);
}

// From products of queries and keys to scores in units of log2: times `factor`, or cap * tanh(product * factor).
struct ScoreScale {
  float factor, cap;
  ScoreScale(double scale, double softcap)
      : factor(static_cast<float>(softcap != 0 ? scale / softcap : scale * std::numbers::log2e)),
        cap(static_cast<float>(softcap * std::numbers::log2e)) {}
  bool caps() const { return cap != 0; }
};

// Rows of q, k or v: element (batch, position, head) starts at this pointer.
template <class T>
struct Rows {
  const T* data;
  Index batch_stride, position_stride, head_stride;
  explicit Rows(const torch::Tensor& t)
      : data(static_cast<const T*>(t.const_data_ptr())),
        batch_stride(t.stride(0)),
        position_stride(t.stride(1)),
        head_stride(t.stride(2)) {}
  const T* at(Index batch, Index position, Index head) const {
    return data + batch * batch_stride + position * position_stride + head * head_stride;
  }
};

// What one product of scores covers: rows of queries (those of a group's heads side by side), and columns of keys from
// `first_key` on.
struct Tile {
  Index rows, columns, first_key;
  Index first_position, group, window, head_dim;
  Index stride;  // of rows of scores
};

// The columns that a row of a tile sees, [low, high).
struct Sight {
  Index low, high;
};
SL_INLINE Sight sight(const Tile& tile, Index row) {
  const Index position = tile.first_position + row / tile.group;
  const Index low = std::clamp<Index>(position + 1 - tile.window - tile.first_key, 0, tile.columns);
  return {low, std::clamp<Index>(position + 1 - tile.first_key, low, tile.columns)};
}

// Caps a tile's scores, [rows, stride].
void cap_scores(const Tile& tile, const ScoreScale& scale, float* scores);

// All rows of one head of keys or values, `stride` apart, as the right-hand side of x rows^T: [key block][head_dim /
// kPack][keys][kPack]; rows beyond the last are zero.
template <class T>
void pack_across(const T* rows, Index stride, const Shape& shape, T* packed) {
  using Unit = std::conditional_t<kPack<T> == 2, std::uint32_t, T>;
  const Index block = shape.key_block(), head_dim = shape.head_dim;
  for (Index first = 0; first < shape.keys; first += block, packed += block * head_dim) {
    const Index here = std::min(block, shape.keys - first);
    auto* units = reinterpret_cast<Unit*>(packed);
    if (here < block) std::fill(packed, packed + block * head_dim, T{0});
    for (Index key = 0; key < here; ++key) {
      const auto* row = reinterpret_cast<const Unit*>(rows + (first + key) * stride);
      for (Index unit = 0; unit < head_dim / kPack<T>; ++unit) units[unit * block + key] = row[unit];
    }
  }
}

// The same rows as the right-hand side of x rows: [key block][keys / kPack][head_dim][kPack].
template <class T>
SL_INLINE void pack_along_body(const T* rows, Index stride, const Shape& shape, T* packed) {
  const Index count = shape.keys, head_dim = shape.head_dim;
  std::fill(packed + count / kPack<T> * kPack<T> * head_dim, packed + shape.packed_size(), T{0});
  for (Index key = 0; key < count; key += kPack<T>, packed += kPack<T> * head_dim) {
    const T* even = rows + key * stride;
    if constexpr (kPack<T> == 1) {
      std::copy(even, even + head_dim, packed);
    } else {
      const T* odd = even + stride;
      const bool pair = key + 1 < count;
      for (Index i = 0; i < head_dim; ++i) {
        packed[2 * i] = even[i];
        packed[2 * i + 1] = pair ? odd[i] : T{0};
      }
    }
  }
}
void pack_along(const Bf16* rows, Index stride, const Shape& shape, Bf16* packed);
void pack_along(const float* rows, Index stride, const Shape& shape, float* packed);

}  // namespace streamline::flash
