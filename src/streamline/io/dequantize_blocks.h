// SPDX-License-Identifier: Apache-2.0
// Loops over the blocks of one type each, in a form that the compiler vectorises. A scale is a float16; products and
// sums are rounded one by one, as NumPy does: the files are compiled without contraction to fused multiply-adds.
#pragma once

#include <cstdint>
#include <cstring>

#include "streamline/base/simd.h"
#include "streamline/io/half.h"

namespace streamline::blocks {

using Byte = std::uint8_t;
// `count` blocks of a type at `from`; `to` has room for their elements.
using Rows = void (*)(const Byte* from, std::uint64_t count, float* to);

SL_INLINE std::uint16_t load_u16(const Byte* from) {
  std::uint16_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

SL_INLINE float half(const Byte* from) { return half_to_float(load_u16(from)); }

// Defines `type` as a loop over `type_block`, compiled for the machine at hand.
#define SL_DEFINE_ROWS(type, bytes, elements)                                                          \
  SL_INLINE void type##_body(const Byte* __restrict from, std::uint64_t count, float* __restrict to) { \
    for (std::uint64_t i = 0; i < count; ++i) type##_block(from + i * bytes, to + i * elements);       \
  }                                                                                                    \
  SL_DISPATCH(type, (const Byte* from, std::uint64_t count, float* to), (from, count, to))

void q4_0(const Byte* from, std::uint64_t count, float* to);
void q4_1(const Byte* from, std::uint64_t count, float* to);
void q5_0(const Byte* from, std::uint64_t count, float* to);
void q5_1(const Byte* from, std::uint64_t count, float* to);
void q8_0(const Byte* from, std::uint64_t count, float* to);
void iq4_nl(const Byte* from, std::uint64_t count, float* to);
void iq4_xs(const Byte* from, std::uint64_t count, float* to);
void mxfp4(const Byte* from, std::uint64_t count, float* to);
void q2_k(const Byte* from, std::uint64_t count, float* to);
void q3_k(const Byte* from, std::uint64_t count, float* to);
void q4_k(const Byte* from, std::uint64_t count, float* to);
void q5_k(const Byte* from, std::uint64_t count, float* to);
void q6_k(const Byte* from, std::uint64_t count, float* to);

}  // namespace streamline::blocks
