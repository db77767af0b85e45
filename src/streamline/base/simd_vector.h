// SPDX-License-Identifier: Apache-2.0
// As many numbers at a time as 32 bytes of memory hold, of fp32 or bfloat16, in fp32: for sums that must stay in
// registers, which the compiler does not do with arrays where there are several. To be inlined into functions of
// SL_DISPATCH.
#pragma once

#include <cstring>

#include "streamline/base/simd.h"

namespace streamline::simd {

using Vector8 [[gnu::vector_size(32)]] = float;
using Vector16 [[gnu::vector_size(64)]] = float;

// Of elements of this type.
template <class T>
struct VectorOf {
  using Type = Vector8;
};
template <>
struct VectorOf<Bf16> {
  using Type = Vector16;
};
template <class T>
using Vector = typename VectorOf<T>::Type;
template <class T>
inline constexpr std::int64_t kLanes = sizeof(Vector<T>) / sizeof(float);

SL_INLINE void load_vector(const float* x, Vector8& vector) { std::memcpy(&vector, x, sizeof vector); }
SL_INLINE void load_vector(const float* x, Vector16& vector) { std::memcpy(&vector, x, sizeof vector); }
SL_INLINE void load_vector(const Bf16* x, Vector16& vector) {
  using Bits [[gnu::vector_size(32)]] = Bf16;
  using Words [[gnu::vector_size(64)]] = std::uint32_t;
  Bits bits;
  std::memcpy(&bits, x, sizeof bits);
  const Words words = __builtin_convertvector(bits, Words) << 16;
  std::memcpy(&vector, &words, sizeof vector);
}

// sum += a b, number by number.
template <class T>
SL_INLINE void add_product(const T* a, const float* b, Vector<T>& sum) {
  Vector<T> left, right;
  load_vector(a, left);
  load_vector(b, right);
  sum += left * right;
}

SL_INLINE float total(const Vector8& v) {
  Vector8 sum = v + __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
  sum += __builtin_shufflevector(sum, sum, 2, 3, 0, 1, 2, 3, 0, 1);
  return sum[0] + sum[1];
}
SL_INLINE float total(const Vector16& v) {
  Vector16 sum = v + __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  sum += __builtin_shufflevector(sum, sum, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3);
  sum += __builtin_shufflevector(sum, sum, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1);
  return sum[0] + sum[1];
}

// The scalar product from `first` on, where what is left does not fill a vector.
template <class T>
SL_INLINE float rest_of_product(const T* a, const float* b, std::int64_t first, std::int64_t width) {
  float sum = 0;
  for (std::int64_t i = first; i < width; ++i) sum += load(a + i) * b[i];
  return sum;
}

}  // namespace streamline::simd
