// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/flash_attention.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <limits>
#include <vector>

#include "streamline/base/error.h"
#include "streamline/base/simd.h"
#include "streamline/nn/flash_blocks.h"
#include "streamline/nn/kernel_walk.h"
#include "streamline/nn/linear.h"

namespace streamline {
namespace flash {
namespace {

// The running softmax of a block of queries.
struct Running {
  float* maxima;  // [rows], in units of log2
  float* sums;    // [rows]
  float* out;     // [rows, head_dim], not yet divided by the sums
};

SL_INLINE void store_share(Bf16* x, float value) { simd::store_positive(x, value); }
SL_INLINE void store_share(float* x, float value) { *x = value; }

// Turns scores, [rows, stride], into probabilities (up to the row's sum), zero where a query may not look, and
// brings the sums and the output so far to the new maxima. Overwrites the scores that are out of sight.
template <class T>
SL_INLINE void softmax_tile_body(const Tile& tile, float scale, float* scores, T* probabilities,
                                 const Running& running) {
  for (Index row = 0; row < tile.rows; ++row, scores += tile.stride, probabilities += tile.stride) {
    const auto [low, high] = sight(tile, row);
    // Whole vectors only: what they take in on either side is pushed out of sight.
    const Index begin = low / kLanes * kLanes, end = low == high ? begin : rounded_up(high, kLanes);
    std::fill(probabilities, probabilities + begin, T{0});
    std::fill(probabilities + end, probabilities + tile.columns, T{0});
    if (begin == end) continue;
    std::fill(scores + begin, scores + low, kUnseen);
    std::fill(scores + high, scores + end, kUnseen);
    float lanes[kLanes];
    for (float& lane : lanes) lane = kUnseen;
    for (Index i = begin; i < end; i += kLanes)
      for (Index j = 0; j < kLanes; ++j) lanes[j] = scores[i + j] > lanes[j] ? scores[i + j] : lanes[j];
    const float largest = std::max(running.maxima[row], simd::largest(lanes) * scale);
    const float shrink = exp2_of<T>(running.maxima[row] - largest);
    for (float& lane : lanes) lane = 0;
    for (Index i = begin; i < end; i += kLanes)
      for (Index j = 0; j < kLanes; ++j) {
        const float p = exp2_of<T>(scores[i + j] * scale - largest);
        lanes[j] += p;
        store_share(probabilities + i + j, p);
      }
    running.sums[row] = running.sums[row] * shrink + simd::sum(lanes);
    if (largest == running.maxima[row]) continue;
    running.maxima[row] = largest;
    float* out = running.out + row * tile.head_dim;
    for (Index d = 0; d < tile.head_dim; ++d) out[d] *= shrink;
  }
}

template <class T>
SL_INLINE void divide_rows_body(const float* out, float sum, Index head_dim, T* result) {
  const float factor = 1.0f / sum;
  for (Index d = 0; d < head_dim; ++d) simd::store(result + d, out[d] * factor);
}

SL_INLINE void cap_row_body(float factor, float cap, float* scores, Index columns) {
  for (Index i = 0; i < columns; ++i) scores[i] = cap * simd::tanh(scores[i] * factor);
}

#define SL_FLASH(T)                                                                                                   \
  SL_DISPATCH(softmax_tile, (const Tile& tile, float scale, float* scores, T* probabilities, const Running& running), \
              (tile, scale, scores, probabilities, running))                                                          \
  SL_DISPATCH(divide_rows, (const float* out, float sum, Index head_dim, T* result), (out, sum, head_dim, result))
SL_FLASH(float)
SL_FLASH(Bf16)
#undef SL_FLASH
SL_DISPATCH(cap_row, (float factor, float cap, float* scores, Index columns), (factor, cap, scores, columns))

// What a thread works in.
template <class T>
struct Scratch {
  std::vector<T> queries, probabilities;
  std::vector<float> scores, maxima, sums, out;
  Scratch(Index rows, Index head_dim, Index key_block)
      : queries(static_cast<std::size_t>(rows * head_dim)),
        probabilities(static_cast<std::size_t>(rows * key_block)),
        scores(static_cast<std::size_t>(rows * key_block)),
        maxima(static_cast<std::size_t>(rows)),
        sums(static_cast<std::size_t>(rows)),
        out(static_cast<std::size_t>(rows * head_dim)) {}
};

// One head of keys and values, packed, and the block of queries that looks at it.
template <class T>
struct BlockAt {
  const T *keys, *values;
  Index batch, kv_head, first;
};

template <class T>
struct Results {
  T* out;
  float* log_sums;  // null: not wanted
};

// One block of queries, of all heads of one group, against the keys that they see.
template <class T>
void attend_block(const Shape& shape, const ScoreScale& scale, const Rows<T>& q, const BlockAt<T>& at, Scratch<T>& s,
                  const Results<T>& results) {
  const Index count = std::min(shape.query_block(), shape.queries - at.first), group = shape.group();
  const Index dim = shape.head_dim, rows = count * group, first_position = shape.before() + at.first;
  for (Index row = 0; row < rows; ++row) {
    const T* from = q.at(at.batch, at.first + row / group, at.kv_head * group + row % group);
    std::copy(from, from + dim, s.queries.data() + row * dim);
  }
  std::fill(s.maxima.begin(), s.maxima.end(), kUnseen);
  std::fill(s.sums.begin(), s.sums.end(), 0.0f);
  std::fill(s.out.begin(), s.out.end(), 0.0f);
  const Running running{s.maxima.data(), s.sums.data(), s.out.data()};
  const Index last_key = first_position + count;  // one past it
  const Index step = shape.key_block();
  const Index first_key = std::max<Index>(0, first_position + 1 - shape.window) / step * step;
  for (Index key = first_key; key < last_key; key += step) {
    const Index columns = std::min(step, rounded_up(last_key - key, kLanes));
    const Tile tile{rows, columns, key, first_position, group, shape.window, dim, step};
    product({rows, columns, dim, dim, step, step}, s.queries.data(), at.keys + key * dim, s.scores.data(),
            /*add=*/false);
    if (scale.caps()) cap_scores(tile, scale, s.scores.data());
    softmax_tile(tile, scale.caps() ? 1.0f : scale.factor, s.scores.data(), s.probabilities.data(), running);
    product({rows, dim, columns, step, dim, dim}, s.probabilities.data(), at.values + key * dim, s.out.data(),
            /*add=*/true);
  }
  for (Index row = 0; row < rows; ++row) {
    const auto i = static_cast<std::size_t>(row);
    const Index position = at.batch * shape.queries + at.first + row / group, head = at.kv_head * group + row % group;
    const Index to = position * shape.heads + head;
    divide_rows(s.out.data() + row * dim, s.sums[i], dim, results.out + to * dim);
    if (results.log_sums != nullptr) results.log_sums[to] = s.maxima[i] + std::log2(s.sums[i]);
  }
}

// Blocks of queries in the order first, last, second, …, so that any run of them costs about the same.
Index balanced(Index i, Index count) { return i % 2 == 0 ? i / 2 : count - 1 - i / 2; }

template <class T>
void attend_all(const Shape& shape, const ScoreScale& scale, const torch::Tensor& q, const torch::Tensor& k,
                const torch::Tensor& v, const Results<T>& results) {
  const Index groups = shape.batch * shape.kv_heads, packed = shape.packed_size();
  const auto buffer = torch::empty({2, groups, packed}, q.options());
  auto* keys = kernels::data<T>(buffer);
  auto* values = keys + groups * packed;
  const Rows<T> q_rows(q), k_rows(k), v_rows(v);
  at::parallel_for(0, 2 * groups, 1, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Index group = i / 2, batch = group / shape.kv_heads, head = group % shape.kv_heads;
      if (i % 2 == 0)
        pack_across(k_rows.at(batch, 0, head), k_rows.position_stride, shape, keys + group * packed);
      else
        pack_along(v_rows.at(batch, 0, head), v_rows.position_stride, shape, values + group * packed);
    }
  });
  const Index block = shape.query_block(), blocks = (shape.queries + block - 1) / block;
  at::parallel_for(0, groups * blocks, 1, [&](Index begin, Index end) {
    Scratch<T> scratch(block * shape.group(), shape.head_dim, shape.key_block());
    for (Index i = begin; i < end; ++i) {
      const Index group = i / blocks;
      attend_block<T>(shape, scale, q_rows,
                      {keys + group * packed, values + group * packed, group / shape.kv_heads, group % shape.kv_heads,
                       balanced(i % blocks, blocks) * block},
                      scratch, results);
    }
    bf16_products_done();
  });
}

}  // namespace

SL_DISPATCH(pack_along, (const Bf16* rows, Index stride, const Shape& shape, Bf16* packed),
            (rows, stride, shape, packed))
SL_DISPATCH(pack_along, (const float* rows, Index stride, const Shape& shape, float* packed),
            (rows, stride, shape, packed))

void cap_scores(const Tile& tile, const ScoreScale& scale, float* scores) {
  for (Index row = 0; row < tile.rows; ++row)
    cap_row(scale.factor, scale.cap, scores + row * tile.stride, tile.columns);
}

Shape shape_of(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v, const FlashOptions& options) {
  const Shape shape{q.size(0),
                    q.size(1),
                    k.size(1),
                    q.size(2),
                    k.size(2),
                    q.size(3),
                    options.window.value_or(std::numeric_limits<Index>::max() / 2)};
  SL_ASSERT(q.stride(3) == 1 && k.stride(3) == 1 && v.stride(3) == 1 && shape.heads % shape.kv_heads == 0);
  SL_ASSERT(shape.keys >= shape.queries);
  return shape;
}

double scale_of(const Shape& shape, const FlashOptions& options) {
  const double scale = options.scale.value_or(1 / std::sqrt(static_cast<double>(shape.head_dim)));
  SL_ASSERT(scale > 0);  // so that the largest product is the largest score
  return scale;
}

}  // namespace flash

bool flash_attention_serves(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v) {
  const auto type = q.scalar_type();
  if (!q.device().is_cpu() || k.scalar_type() != type || v.scalar_type() != type || q.size(3) % 16 != 0) return false;
  return type == torch::kBFloat16 ? bf16_products_serve() : type == torch::kFloat && float_products_serve();
}

bool flash_attention_pays(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v) {
  // With fewer queries packing costs more than it saves.
  constexpr std::int64_t kFewQueries16 = 16, kFewQueries32 = 128;
  if (!flash_attention_serves(q, k, v)) return false;
  if (q.scalar_type() == torch::kFloat) return q.size(1) >= kFewQueries32;
  // libtorch's own gradients with its AMX products have not been measured against.
  return q.size(1) >= kFewQueries16 && !(bf16_products_are_library() && needs_gradient({q, k, v}));
}

torch::Tensor flash_attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                              const FlashOptions& options, torch::Tensor* log_sums) {
  const flash::Shape shape = flash::shape_of(q, k, v, options);
  auto result = torch::empty(q.sizes(), q.options(), torch::MemoryFormat::Contiguous);
  if (log_sums != nullptr) *log_sums = torch::empty(q.sizes().slice(0, 3), q.options().dtype(torch::kFloat));
  kernels::with_type(q, [&]<class T>(T*) {
    flash::attend_all<T>(shape, {flash::scale_of(shape, options), options.softcap}, q, k, v,
                         {kernels::data<T>(result), log_sums != nullptr ? kernels::data<float>(*log_sums) : nullptr});
  });
  return result;
}

}  // namespace streamline
