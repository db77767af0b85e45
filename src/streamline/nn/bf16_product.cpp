// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/bf16_product.h"

#include <ATen/native/CPUBlas.h>

#include <cstring>

#include "streamline/base/error.h"

#if SL_X86_VARIANTS
#include <immintrin.h>
#endif

namespace streamline {
namespace {

using simd::Bf16;
using Index = std::int64_t;

bool library_serves() {
  static const bool found = at::native::cpublas::could_pack(torch::kBFloat16);
  return found;
}

#if SL_X86_VARIANTS

#define SL_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,bmi2")))

constexpr Index kVectorLanes = 16;  // floats that one instruction makes
// Sums of a tile stay in registers: 8 rows of 2 vectors are enough to hide the latency of the instruction and leave
// room for the operands.
constexpr int kTileRows = 8, kTileVectors = 2;

bool instructions_serve() {
  static const bool found = simd::level() == simd::Level::v4 && __builtin_cpu_supports("avx512bf16");
  return found;
}

// What of a row of a meets one vector of b: a pair of bf16, or one fp32.
template <class T>
constexpr Index kDepth = 1;
template <>
constexpr Index kDepth<Bf16> = 2;

SL_AVX512 inline __m512 everywhere(const Bf16* pair) {
  std::int32_t bits;
  std::memcpy(&bits, pair, sizeof bits);
  return _mm512_castsi512_ps(_mm512_set1_epi32(bits));
}
SL_AVX512 inline __m512 everywhere(const float* value) { return _mm512_set1_ps(*value); }

template <class T>
SL_AVX512 inline __m512 multiply_add(__m512 sum, __m512 a, __m512 b) {
  if constexpr (kDepth<T> == 2)
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  else
    return _mm512_fmadd_ps(a, b, sum);
}

template <int rows, int vectors, class T>
SL_AVX512 inline void multiply_tile(const ProductShape& shape, const T* a, const T* b, float* c, bool add) {
  __m512 sums[rows][vectors];
  for (int row = 0; row < rows; ++row)
    for (int i = 0; i < vectors; ++i)
      sums[row][i] = add ? _mm512_loadu_ps(c + row * shape.c_stride + i * kVectorLanes) : _mm512_setzero_ps();
  for (Index step = 0; step < shape.depth; step += kDepth<T>, a += kDepth<T>, b += kDepth<T> * shape.b_stride) {
    __m512 right[vectors];
    for (int i = 0; i < vectors; ++i) right[i] = _mm512_loadu_ps(b + kDepth<T> * i * kVectorLanes);
    for (int row = 0; row < rows; ++row) {
      const __m512 left = everywhere(a + row * shape.a_stride);
      for (int i = 0; i < vectors; ++i) sums[row][i] = multiply_add<T>(sums[row][i], left, right[i]);
    }
  }
  for (int row = 0; row < rows; ++row)
    for (int i = 0; i < vectors; ++i) _mm512_storeu_ps(c + row * shape.c_stride + i * kVectorLanes, sums[row][i]);
}

// All rows of one strip of columns, whose part of b stays in the nearest cache.
template <int vectors, class T>
SL_AVX512 void multiply_strip(const ProductShape& shape, const T* a, const T* b, float* c, bool add) {
  Index row = 0;
  for (; row + kTileRows <= shape.rows; row += kTileRows)
    multiply_tile<kTileRows, vectors>(shape, a + row * shape.a_stride, b, c + row * shape.c_stride, add);
  for (; row < shape.rows; ++row)
    multiply_tile<1, vectors>(shape, a + row * shape.a_stride, b, c + row * shape.c_stride, add);
}

template <class T>
void multiply(const ProductShape& shape, const T* a, const T* b, float* c, bool add) {
  Index column = 0;
  for (; column + kTileVectors * kVectorLanes <= shape.columns; column += kTileVectors * kVectorLanes)
    multiply_strip<kTileVectors>(shape, a, b + kDepth<T> * column, c + column, add);
  for (; column < shape.columns; column += kVectorLanes)
    multiply_strip<1>(shape, a, b + kDepth<T> * column, c + column, add);
}

#else

bool instructions_serve() { return false; }
template <class T>
void multiply(const ProductShape&, const T*, const T*, float*, bool) {}

#endif

const at::BFloat16* torch_type(const Bf16* data) { return reinterpret_cast<const at::BFloat16*>(data); }

}  // namespace

bool bf16_products_serve() { return library_serves() || instructions_serve(); }
bool bf16_products_are_library() { return library_serves(); }

void bf16_product(const ProductShape& shape, const Bf16* a, const Bf16* b, float* c, bool add) {
  SL_ASSERT(shape.columns % 16 == 0 && shape.depth % 2 == 0);
  if (!library_serves()) return multiply(shape, a, b, c, add);
  at::native::cpublas::brgemm(shape.rows, shape.columns, shape.depth, shape.a_stride, shape.b_stride, shape.c_stride,
                              add, torch_type(a), torch_type(b), c);
}

void bf16_products_done() {
  if (library_serves()) at::native::cpublas::brgemm_release();
}

bool float_products_serve() { return simd::level() == simd::Level::v4; }

void float_product(const ProductShape& shape, const float* a, const float* b, float* c, bool add) {
  SL_ASSERT(shape.columns % 16 == 0);
  multiply(shape, a, b, c, add);
}

}  // namespace streamline
