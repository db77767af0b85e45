// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/one_query.h"

#include <cmath>
#include <vector>

#include "streamline/base/simd_vector.h"
#include "streamline/nn/kernel_walk.h"
#include "streamline/nn/kernels.h"

namespace streamline {
namespace {

using simd::Bf16;
using Index = std::int64_t;

struct GroupShape {
  Index queries = 0, keys = 0, width = 0;  // heads of the group, positions, components of a head
  Index key_stride = 0, value_stride = 0;  // from one position to the next
  float softcap = 0;
};

// Scores become shares that sum to 1.
SL_INLINE void share_out(float* scores, Index keys) {
  constexpr float kLog2OfE = 1.44269504f;
  float largest = scores[0];
  for (Index j = 1; j < keys; ++j) largest = scores[j] > largest ? scores[j] : largest;
  for (Index j = 0; j < keys; ++j) scores[j] = simd::exp2((scores[j] - largest) * kLog2OfE);
  constexpr Index kSums = 16;
  float lanes[kSums] = {};
  Index j = 0;
  for (; j + kSums <= keys; j += kSums)
    for (Index lane = 0; lane < kSums; ++lane) lanes[lane] += scores[j + lane];
  float sum = 0;
  for (; j < keys; ++j) sum += scores[j];
  const float factor = 1.0f / (sum + simd::sum(lanes));
  for (j = 0; j < keys; ++j) scores[j] *= factor;
}

// q: [queries, width], scaled; scores: [queries, keys]; out: [queries, width], zeros before.
template <class T>
SL_INLINE void attend_group_body(const GroupShape& shape, const float* q, const T* keys, const T* values, float* scores,
                                 float* out) {
  for (Index j = 0; j < shape.keys; ++j) {
    const T* key = keys + j * shape.key_stride;
    for (Index row = 0; row < shape.queries; ++row) {
      simd::Vector<T> sum = {};
      Index i = 0;
      for (; i + simd::kLanes<T> <= shape.width; i += simd::kLanes<T>)
        simd::add_product(key + i, q + row * shape.width + i, sum);
      scores[row * shape.keys + j] =
          simd::total(sum) + simd::rest_of_product(key, q + row * shape.width, i, shape.width);
    }
  }
  if (shape.softcap != 0)
    for (Index k = 0; k < shape.queries * shape.keys; ++k)
      scores[k] = shape.softcap * simd::tanh(scores[k] / shape.softcap);
  for (Index row = 0; row < shape.queries; ++row) share_out(scores + row * shape.keys, shape.keys);
  for (Index j = 0; j < shape.keys; ++j) {
    const T* value = values + j * shape.value_stride;
    for (Index row = 0; row < shape.queries; ++row) {
      const float share = scores[row * shape.keys + j];
      float* __restrict sum = out + row * shape.width;
      for (Index i = 0; i < shape.width; ++i) sum[i] += share * simd::load(value + i);
    }
  }
}

#define SL_ATTEND_GROUP(T)                                                                                          \
  SL_DISPATCH(attend_group,                                                                                         \
              (const GroupShape& shape, const float* q, const T* keys, const T* values, float* scores, float* out), \
              (shape, q, keys, values, scores, out))
SL_ATTEND_GROUP(float)
SL_ATTEND_GROUP(Bf16)
#undef SL_ATTEND_GROUP

}  // namespace

bool one_query_serves(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v) {
  return q.size(1) == 1 && k.size(1) > 0 && k.stride(3) == 1 && v.stride(3) == 1 && kernels::apply_to({q, k, v});
}

torch::Tensor one_query_attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                                  const FlashOptions& options) {
  SL_ASSERT(one_query_serves(q, k, v));
  const Index first = options.window ? std::max<Index>(0, k.size(1) - *options.window) : 0;
  const Index heads = q.size(2), kv_heads = k.size(2), groups = q.size(0) * kv_heads;
  const GroupShape shape = {.queries = heads / kv_heads,
                            .keys = k.size(1) - first,
                            .width = q.size(3),
                            .key_stride = k.stride(1),
                            .value_stride = v.stride(1),
                            .softcap = static_cast<float>(options.softcap)};
  const double scale = options.scale.value_or(1 / std::sqrt(static_cast<double>(shape.width)));
  const torch::Tensor scaled = (q.to(torch::kFloat) * scale).contiguous();
  torch::Tensor out = torch::zeros(q.sizes(), scaled.options());
  kernels::with_type(k, [&]<class T>(T*) {
    const Index group_size = shape.queries * shape.width, work = shape.keys * group_size;
    at::parallel_for(0, groups, kernels::grain(work), [&](Index begin, Index end) {
      std::vector<float> scores(static_cast<std::size_t>(shape.queries * shape.keys));
      for (Index group = begin; group < end; ++group) {
        const Index sequence = group / kv_heads, head = group % kv_heads;
        const auto from = [&](const torch::Tensor& tensor) {
          return kernels::data<T>(tensor) + sequence * tensor.stride(0) + first * tensor.stride(1) +
                 head * tensor.stride(2);
        };
        attend_group(shape, kernels::data<float>(scaled) + group * group_size, from(k), from(v), scores.data(),
                     kernels::data<float>(out) + group * group_size);
      }
    });
  });
  return out.to(q.scalar_type());
}

}  // namespace streamline
