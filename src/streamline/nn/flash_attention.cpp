// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/flash_attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "streamline/base/error.h"
#include "streamline/base/simd.h"
#include "streamline/nn/bf16_product.h"
#include "streamline/nn/linear.h"

namespace streamline {
namespace {

using simd::Bf16;
using Index = std::int64_t;

constexpr Index kKeyBlock = 256;   // keys that pass by together
constexpr Index kRows = 256;       // queries times heads of a group that share a product
constexpr Index kLanes = 32;       // floats of a row that the loops take together
constexpr float kUnseen = -1e30f;  // a score whose probability is zero
constexpr Index kFewQueries = 16;  // below it packing costs more than it saves

struct Shape {
  Index batch, queries, keys, heads, kv_heads, head_dim, window;
  Index group() const { return heads / kv_heads; }
  Index query_block() const { return std::max<Index>(1, kRows / group()); }
  Index key_blocks() const { return (keys + kKeyBlock - 1) / kKeyBlock; }
  Index query_blocks() const { return (queries + query_block() - 1) / query_block(); }
  Index packed_size() const { return key_blocks() * kKeyBlock * head_dim; }  // of the keys or values of one head
};

// Rows of q, k or v: element (batch, position, head) starts at this pointer.
struct Rows {
  const Bf16* data;
  Index batch_stride, position_stride, head_stride;
  explicit Rows(const torch::Tensor& t)
      : data(static_cast<const Bf16*>(t.const_data_ptr())),
        batch_stride(t.stride(0)),
        position_stride(t.stride(1)),
        head_stride(t.stride(2)) {}
  const Bf16* at(Index batch, Index position, Index head) const {
    return data + batch * batch_stride + position * position_stride + head * head_stride;
  }
};

// Keys as the right-hand side of q k^T: pairs of components side by side, [block][head_dim / 2][kKeyBlock][2]; keys
// beyond the last are zero.
void pack_keys_body(const Bf16* keys, Index stride, Index count, Index head_dim, Bf16* packed) {
  for (Index first = 0; first < count; first += kKeyBlock, packed += kKeyBlock * head_dim) {
    const Index here = std::min(kKeyBlock, count - first);
    auto* pairs = reinterpret_cast<std::uint32_t*>(packed);
    if (here < kKeyBlock) std::fill(packed, packed + kKeyBlock * head_dim, Bf16{0});
    for (Index key = 0; key < here; ++key) {
      const auto* row = reinterpret_cast<const std::uint32_t*>(keys + (first + key) * stride);
      for (Index pair = 0; pair < head_dim / 2; ++pair) pairs[pair * kKeyBlock + key] = row[pair];
    }
  }
}

// Values as the right-hand side of p v: pairs of positions side by side, [block][kKeyBlock / 2][head_dim][2].
SL_INLINE void pack_values_body(const Bf16* values, Index stride, Index count, Index head_dim, Bf16* packed) {
  std::fill(packed + count / 2 * 2 * head_dim, packed + (count + kKeyBlock - 1) / kKeyBlock * kKeyBlock * head_dim,
            Bf16{0});
  for (Index key = 0; key < count; key += 2, packed += 2 * head_dim) {
    const Bf16* even = values + key * stride;
    const Bf16* odd = even + stride;
    const bool pair = key + 1 < count;
    for (Index i = 0; i < head_dim; ++i) {
      packed[2 * i] = even[i];
      packed[2 * i + 1] = pair ? odd[i] : Bf16{0};
    }
  }
}

// The running softmax of a block of queries.
struct Running {
  float* maxima;  // [rows], in units of log2
  float* sums;    // [rows]
  float* out;     // [rows, head_dim], not yet divided by the sums
};

// What one product of scores covers: rows of queries, and columns of keys from `first_key` on.
struct Tile {
  Index rows, columns, first_key;
  Index first_position, group, window, head_dim;
};

// Turns scores, [rows, kKeyBlock], into probabilities (up to the row's sum), bf16, zero where a query may not look, and
// brings the sums and the output so far to the new maxima. Overwrites the scores that are out of sight.
SL_INLINE void softmax_tile_body(const Tile& tile, float scale, float* scores, Bf16* probabilities,
                                 const Running& running) {
  for (Index row = 0; row < tile.rows; ++row, scores += kKeyBlock, probabilities += kKeyBlock) {
    const Index position = tile.first_position + row / tile.group;
    const Index low = std::clamp<Index>(position + 1 - tile.window - tile.first_key, 0, tile.columns);
    const Index high = std::clamp<Index>(position + 1 - tile.first_key, low, tile.columns);
    // Whole vectors only: what they take in on either side is pushed out of sight.
    const Index begin = low / kLanes * kLanes, end = low == high ? begin : (high + kLanes - 1) / kLanes * kLanes;
    std::fill(probabilities, probabilities + begin, Bf16{0});
    std::fill(probabilities + end, probabilities + tile.columns, Bf16{0});
    if (begin == end) continue;
    std::fill(scores + begin, scores + low, kUnseen);
    std::fill(scores + high, scores + end, kUnseen);
    float lanes[kLanes];
    for (float& lane : lanes) lane = kUnseen;
    for (Index i = begin; i < end; i += kLanes)
      for (Index j = 0; j < kLanes; ++j) lanes[j] = scores[i + j] > lanes[j] ? scores[i + j] : lanes[j];
    const float largest = std::max(running.maxima[row], simd::largest(lanes) * scale);
    const float shrink = simd::exp2_coarse(running.maxima[row] - largest);
    for (float& lane : lanes) lane = 0;
    for (Index i = begin; i < end; i += kLanes)
      for (Index j = 0; j < kLanes; ++j) {
        const float p = simd::exp2_coarse(scores[i + j] * scale - largest);
        lanes[j] += p;
        simd::store_positive(probabilities + i + j, p);
      }
    running.sums[row] = running.sums[row] * shrink + simd::sum(lanes);
    if (largest == running.maxima[row]) continue;
    running.maxima[row] = largest;
    float* out = running.out + row * tile.head_dim;
    for (Index d = 0; d < tile.head_dim; ++d) out[d] *= shrink;
  }
}

SL_INLINE void divide_rows_body(const float* out, float sum, Index head_dim, Bf16* result) {
  const float factor = 1.0f / sum;
  for (Index d = 0; d < head_dim; ++d) simd::store(result + d, out[d] * factor);
}

SL_DISPATCH(pack_values, (const Bf16* values, Index stride, Index count, Index head_dim, Bf16* packed),
            (values, stride, count, head_dim, packed))
SL_DISPATCH(softmax_tile, (const Tile& tile, float scale, float* scores, Bf16* probabilities, const Running& running),
            (tile, scale, scores, probabilities, running))
SL_DISPATCH(divide_rows, (const float* out, float sum, Index head_dim, Bf16* result), (out, sum, head_dim, result))

// What a thread works in.
struct Scratch {
  std::vector<Bf16> queries, probabilities;
  std::vector<float> scores, maxima, sums, out;
  Scratch(Index rows, Index head_dim)
      : queries(static_cast<std::size_t>(rows * head_dim)),
        probabilities(static_cast<std::size_t>(rows * kKeyBlock)),
        scores(static_cast<std::size_t>(rows * kKeyBlock)),
        maxima(static_cast<std::size_t>(rows)),
        sums(static_cast<std::size_t>(rows)),
        out(static_cast<std::size_t>(rows * head_dim)) {}
};

// One block of queries, of all heads of one group, against the keys that they see.
void attend_block(const Shape& shape, const Rows& q, const Bf16* keys, const Bf16* values, Index batch, Index kv_head,
                  Index first, Scratch& s, Bf16* result) {
  const Index count = std::min(shape.query_block(), shape.queries - first), group = shape.group(), dim = shape.head_dim;
  const Index rows = count * group, first_position = shape.keys - shape.queries + first;
  for (Index row = 0; row < rows; ++row) {
    const Bf16* from = q.at(batch, first + row / group, kv_head * group + row % group);
    std::copy(from, from + dim, s.queries.data() + row * dim);
  }
  std::fill(s.maxima.begin(), s.maxima.end(), kUnseen);
  std::fill(s.sums.begin(), s.sums.end(), 0.0f);
  std::fill(s.out.begin(), s.out.end(), 0.0f);
  const float scale = static_cast<float>(std::numbers::log2e / std::sqrt(static_cast<double>(dim)));
  const Running running{s.maxima.data(), s.sums.data(), s.out.data()};
  const Index last_key = first_position + count;  // one past it
  const Index first_key = std::max<Index>(0, first_position + 1 - shape.window) / kKeyBlock * kKeyBlock;
  for (Index key = first_key; key < last_key; key += kKeyBlock) {
    const Index columns = std::min(kKeyBlock, (last_key - key + kLanes - 1) / kLanes * kLanes);
    bf16_product({rows, columns, dim, dim, kKeyBlock, kKeyBlock}, s.queries.data(), keys + key * dim, s.scores.data(),
                 /*add=*/false);
    softmax_tile({rows, columns, key, first_position, group, shape.window, dim}, scale, s.scores.data(),
                 s.probabilities.data(), running);
    bf16_product({rows, dim, columns, kKeyBlock, dim, dim}, s.probabilities.data(), values + key * dim, s.out.data(),
                 /*add=*/true);
  }
  for (Index row = 0; row < rows; ++row) {
    const Index position = batch * shape.queries + first + row / group, head = kv_head * group + row % group;
    divide_rows(s.out.data() + row * dim, s.sums[static_cast<std::size_t>(row)], dim,
                result + (position * shape.heads + head) * dim);
  }
}

// Blocks of queries in the order first, last, second, …, so that any run of them costs about the same.
Index balanced(Index i, Index count) { return i % 2 == 0 ? i / 2 : count - 1 - i / 2; }

}  // namespace

bool flash_attention_serves(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v) {
  return q.device().is_cpu() && q.scalar_type() == torch::kBFloat16 && q.size(1) >= kFewQueries &&
         q.size(3) % 16 == 0 && !needs_gradient({q, k, v}) && bf16_products_serve();
}

torch::Tensor flash_attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                              std::optional<std::int64_t> window) {
  const Shape shape{q.size(0),
                    q.size(1),
                    k.size(1),
                    q.size(2),
                    k.size(2),
                    q.size(3),
                    window.value_or(std::numeric_limits<Index>::max() / 2)};
  SL_ASSERT(q.stride(3) == 1 && k.stride(3) == 1 && v.stride(3) == 1 && shape.heads % shape.kv_heads == 0);
  SL_ASSERT(shape.keys >= shape.queries);
  auto result = torch::empty({shape.batch, shape.queries, shape.heads, shape.head_dim}, q.options());
  const Index groups = shape.batch * shape.kv_heads, packed = shape.packed_size();
  auto buffer = torch::empty({2, groups, packed}, q.options());
  auto* keys = static_cast<Bf16*>(buffer.data_ptr());
  auto* values = keys + groups * packed;
  const Rows q_rows(q), k_rows(k), v_rows(v);
  at::parallel_for(0, 2 * groups, 1, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Index group = i / 2, batch = group / shape.kv_heads, head = group % shape.kv_heads;
      const bool is_key = i % 2 == 0;
      const Rows& rows = is_key ? k_rows : v_rows;
      if (is_key)
        pack_keys_body(rows.at(batch, 0, head), rows.position_stride, shape.keys, shape.head_dim,
                       keys + group * packed);
      else
        pack_values(rows.at(batch, 0, head), rows.position_stride, shape.keys, shape.head_dim, values + group * packed);
    }
  });
  auto* out = static_cast<Bf16*>(result.data_ptr());
  const Index blocks = shape.query_blocks();
  at::parallel_for(0, groups * blocks, 1, [&](Index begin, Index end) {
    Scratch scratch(shape.query_block() * shape.group(), shape.head_dim);
    for (Index i = begin; i < end; ++i) {
      const Index group = i / blocks, block = balanced(i % blocks, blocks);
      attend_block(shape, q_rows, keys + group * packed, values + group * packed, group / shape.kv_heads,
                   group % shape.kv_heads, block * shape.query_block(), scratch, out);
    }
    bf16_products_done();
  });
  return result;
}

}  // namespace streamline
