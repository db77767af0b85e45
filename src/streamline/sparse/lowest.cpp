// SPDX-License-Identifier: Apache-2.0
#include "streamline/sparse/lowest.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace streamline::sparse {
namespace {

using simd::Bf16;

constexpr std::int64_t kCounted = 1 << 20;  // at a time, in 32 bits

// The bits of a float that is not negative, which are in the order of the numbers.
SL_INLINE std::int32_t order_of(float score) {
  return static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(score) & 0x7fffffffu);
}

SL_INLINE std::int32_t count_below(const std::int32_t* scores, std::int64_t width, std::int32_t limit) {
  std::int32_t below = 0;
  for (std::int64_t i = 0; i < width; ++i) below += scores[i] < limit ? 1 : 0;
  return below;
}

// Scores below `score` go, and the first `equal` of those that are equal to it.
struct Limit {
  std::int32_t score;
  std::int64_t equal;
};

// 0 < count <= width. Bit by bit the largest score that has fewer than `count` below it.
SL_INLINE Limit limit_of(const std::int32_t* scores, std::int64_t width, std::int64_t count) {
  std::int32_t score = 0;
  std::int64_t below = 0;
  for (std::int32_t bit = std::int32_t{1} << 30; bit > 0; bit >>= 1) {
    const std::int64_t found = count_below(scores, width, score | bit);
    if (found == count) return {score | bit, 0};
    if (found > count) continue;
    score |= bit;
    below = found;
  }
  return {score, count - below};
}

template <class Element>
SL_INLINE void zero_below_limit(Element* weights, const std::int32_t* scores, std::int64_t width, std::int64_t count) {
  Limit limit = limit_of(scores, width, count);
  for (std::int64_t i = 0; i < width; ++i) weights[i] = scores[i] < limit.score ? Element{0} : weights[i];
  for (std::int64_t i = 0; limit.equal > 0; ++i) {
    if (scores[i] != limit.score) continue;
    weights[i] = 0;
    --limit.equal;
  }
}

// For the groups of the usual patterns, 2:4 and 4:8, this costs a third of it or less.
template <int kWidth, class Element>
SL_INLINE void zero_by_rank(Element* weights, const std::int32_t* scores, std::int64_t count) {
  for (int i = 0; i < kWidth; ++i) {
    int rank = 0;
    for (int j = 0; j < kWidth; ++j)
      rank += static_cast<int>((scores[j] < scores[i]) | ((scores[j] == scores[i]) & (j < i)));
    weights[i] = rank < count ? Element{0} : weights[i];
  }
}

template <class Element>
SL_INLINE void zero_scored_body(Element* weights, const float* scale, std::int64_t columns, std::int64_t width,
                                std::int64_t count, std::int32_t* scores) {
  for (std::int64_t i = 0; i < columns; ++i) scores[i] = order_of(simd::load(weights + i) * scale[i]);
  for (std::int64_t first = 0; first < columns; first += width) {
    if (width == 4)
      zero_by_rank<4>(weights + first, scores + first, count);
    else if (width == 8)
      zero_by_rank<8>(weights + first, scores + first, count);
    else
      zero_below_limit(weights + first, scores + first, width, count);
  }
}

template <class Element>
SL_INLINE void zero_low_body(Element* weights, std::int64_t count, float limit) {
  for (std::int64_t i = 0; i < count; ++i)
    weights[i] = std::abs(simd::load(weights + i)) <= limit ? Element{0} : weights[i];
}

template <class Element>
SL_INLINE void zeros_among_body(const Element* weights, std::int64_t count, std::int32_t& zeros) {
  std::int32_t found = 0;
  for (std::int64_t i = 0; i < count; ++i) found += simd::load(weights + i) == 0 ? 1 : 0;
  zeros = found;
}

#define SL_KERNELS(T)                                                                                         \
  SL_DISPATCH(zero_scored,                                                                                    \
              (T * weights, const float* scale, std::int64_t columns, std::int64_t width, std::int64_t count, \
               std::int32_t* scores),                                                                         \
              (weights, scale, columns, width, count, scores))                                                \
  SL_DISPATCH(zero_low, (T * weights, std::int64_t count, float limit), (weights, count, limit))              \
  SL_DISPATCH(zeros_among, (const T* weights, std::int64_t count, std::int32_t& zeros), (weights, count, zeros))
SL_KERNELS(float)
SL_KERNELS(Bf16)
#undef SL_KERNELS

template <class Element>
void zero_lowest_of(Element* weights, const float* scale, std::int64_t columns, std::int64_t width, std::int64_t count,
                    std::vector<std::int32_t>& scores) {
  if (count <= 0) return;
  scores.resize(static_cast<std::size_t>(columns));
  zero_scored(weights, scale, columns, width, std::min(count, width), scores.data());
}

template <class Element>
std::int64_t all_zeros_among(const Element* weights, std::int64_t count) {
  std::int64_t total = 0;
  for (std::int64_t first = 0; first < count; first += kCounted) {
    std::int32_t found = 0;
    zeros_among(weights + first, std::min(kCounted, count - first), found);
    total += found;
  }
  return total;
}

}  // namespace

void zero_lowest(float* weights, const float* scale, std::int64_t columns, std::int64_t width, std::int64_t count,
                 std::vector<std::int32_t>& scores) {
  zero_lowest_of(weights, scale, columns, width, count, scores);
}
void zero_lowest(Bf16* weights, const float* scale, std::int64_t columns, std::int64_t width, std::int64_t count,
                 std::vector<std::int32_t>& scores) {
  zero_lowest_of(weights, scale, columns, width, count, scores);
}

void zero_up_to(float* weights, std::int64_t count, float limit) { zero_low(weights, count, limit); }
void zero_up_to(Bf16* weights, std::int64_t count, float limit) { zero_low(weights, count, limit); }

std::int64_t count_zeros(const float* weights, std::int64_t count) { return all_zeros_among(weights, count); }
std::int64_t count_zeros(const Bf16* weights, std::int64_t count) { return all_zeros_among(weights, count); }

}  // namespace streamline::sparse
