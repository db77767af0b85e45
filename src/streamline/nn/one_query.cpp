// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/one_query.h"

#include <algorithm>
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
  constexpr Index kLanes = 16;
  float lanes[kLanes];
  for (float& lane : lanes) lane = scores[0];
  Index j = 0;
  for (; j + kLanes <= keys; j += kLanes)
    for (Index lane = 0; lane < kLanes; ++lane)
      lanes[lane] = scores[j + lane] > lanes[lane] ? scores[j + lane] : lanes[lane];
  for (; j < keys; ++j) lanes[0] = scores[j] > lanes[0] ? scores[j] : lanes[0];
  const float largest = simd::largest(lanes);
  for (j = 0; j < keys; ++j) scores[j] = simd::exp2((scores[j] - largest) * kLog2OfE);
  for (float& lane : lanes) lane = 0;
  for (j = 0; j + kLanes <= keys; j += kLanes)
    for (Index lane = 0; lane < kLanes; ++lane) lanes[lane] += scores[j + lane];
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

bool one_query_applies(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v) {
  return q.size(1) == 1 && k.size(1) > 0 && k.stride(3) == 1 && v.stride(3) == 1 && kernels::apply_to({q, k, v});
}

torch::Tensor one_query_attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                                  const FlashOptions& options) {
  const Index heads = q.size(2), kv_heads = k.size(2), width = q.size(3);
  SL_ASSERT(one_query_applies(q, k, v) && v.sizes() == k.sizes() && heads % kv_heads == 0);
  SL_ASSERT(options.window.value_or(1) > 0);
  const Index first = options.window ? std::max<Index>(0, k.size(1) - *options.window) : 0, keys = k.size(1) - first;
  const double scale = options.scale.value_or(1 / std::sqrt(static_cast<double>(width)));
  const torch::Tensor scaled = (q.to(torch::kFloat) * scale).contiguous();
  torch::Tensor out = torch::zeros(q.sizes(), scaled.options());
  // Query heads that one thread takes together: all that share keys and values, or fewer where threads are left over.
  const Index group = heads / kv_heads, groups = q.size(0) * kv_heads,
              parts = std::clamp<Index>(at::get_num_threads() / groups, 1, group),
              together = (group + parts - 1) / parts,
              shares = (group + together - 1) / together;  // of a group
  kernels::with_type(k, [&]<class T>(T*) {
    at::parallel_for(0, groups * shares, kernels::grain(keys * together * width), [&](Index begin, Index end) {
      std::vector<float> scores(static_cast<std::size_t>(together * keys));
      for (Index share = begin; share < end; ++share) {
        const Index sequence = share / shares / kv_heads, head = share / shares % kv_heads;
        const Index query = share / shares * group + share % shares * together;  // the first, over all sequences
        const auto from = [&](const torch::Tensor& tensor) {
          return kernels::data<T>(tensor) + sequence * tensor.stride(0) + first * tensor.stride(1) +
                 head * tensor.stride(2);
        };
        const GroupShape shape = {.queries = std::min(together, group - share % shares * together),
                                  .keys = keys,
                                  .width = width,
                                  .key_stride = k.stride(1),
                                  .value_stride = v.stride(1),
                                  .softcap = static_cast<float>(options.softcap)};
        attend_group(shape, kernels::data<float>(scaled) + query * width, from(k), from(v), scores.data(),
                     kernels::data<float>(out) + query * width);
      }
    });
  });
  return out.to(q.scalar_type());
}

}  // namespace streamline
