// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/log_sum_exp.h"

#include <algorithm>
#include <cstring>

namespace streamline {
namespace {

constexpr int kLanes = 16;

template <class T>
SL_INLINE void largest_of_body(const T* x, std::int64_t count, float& largest) {
  float lanes[kLanes];
  std::fill(lanes, lanes + kLanes, -std::numeric_limits<float>::infinity());
  std::int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float value = simd::load(x + k + lane);
      lanes[lane] = value > lanes[lane] ? value : lanes[lane];
    }
  }
  largest = *std::max_element(lanes, lanes + kLanes);
  for (; k < count; ++k) largest = std::max(largest, simd::load(x + k));
}
SL_DISPATCH(largest_of, (const float* x, std::int64_t count, float& largest), (x, count, largest))
SL_DISPATCH(largest_of, (const simd::Bf16* x, std::int64_t count, float& largest), (x, count, largest))

template <class T>
SL_INLINE void add_exponentials_body(const T* x, std::int64_t count, float largest, double& sum) {
  using DoubleLanes = double __attribute__((vector_size(64)));
  using HalfLanes = float __attribute__((vector_size(32)));
  DoubleLanes sums[2] = {};
  std::int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) {
    float values[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) values[lane] = simd::exp(simd::load(x + k + lane) - largest);
    HalfLanes halves[2];
    std::memcpy(halves, values, sizeof halves);
    sums[0] += __builtin_convertvector(halves[0], DoubleLanes);
    sums[1] += __builtin_convertvector(halves[1], DoubleLanes);
  }
  for (int lane = 0; lane < kLanes / 2; ++lane) sum += sums[0][lane] + sums[1][lane];
  for (; k < count; ++k) sum += static_cast<double>(simd::exp(simd::load(x + k) - largest));
}
SL_DISPATCH(add_exponentials, (const float* x, std::int64_t count, float largest, double& sum),
            (x, count, largest, sum))
SL_DISPATCH(add_exponentials, (const simd::Bf16* x, std::int64_t count, float largest, double& sum),
            (x, count, largest, sum))

template <class T>
void add_values(LogSumExp& total, std::span<const T> values) {
  if (values.empty()) return;
  const auto count = static_cast<std::int64_t>(values.size());
  float largest = 0;
  largest_of(values.data(), count, largest);
  double sum = 0;
  add_exponentials(values.data(), count, largest, sum);
  if (!(sum > 0)) {  // NaN or infinity among the values
    total.sum = std::numeric_limits<double>::quiet_NaN();
    return;
  }
  const double joint = std::max(total.largest, static_cast<double>(largest));
  total.sum = total.sum * std::exp(total.largest - joint) + sum * std::exp(static_cast<double>(largest) - joint);
  total.largest = joint;
}

}  // namespace

void add(LogSumExp& total, std::span<const float> values) { add_values(total, values); }
void add(LogSumExp& total, std::span<const simd::Bf16> values) { add_values(total, values); }

}  // namespace streamline
