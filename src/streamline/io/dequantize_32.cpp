// SPDX-License-Identifier: Apache-2.0
// Types that quantise 32 neighbours with one scale. A byte has two elements: the low half one of the first 16, the
// high half its partner in the last 16. Layouts in the order of the bytes.
#include "streamline/io/dequantize_blocks.h"

namespace streamline::blocks {
namespace {

constexpr int kElements = 32, kHalf = 16;

// The values that the four bits of a non-linear type stand for.
constexpr float kNonLinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr float kE2M1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};  // twice FP4's values

// scale, 16 bytes: scale * (q - 8)
SL_INLINE void q4_0_block(const Byte* __restrict from, float* __restrict to) {
  const float scale = half(from);
  for (int i = 0; i < kHalf; ++i) {
    to[i] = scale * static_cast<float>((from[2 + i] & 0xf) - 8);
    to[i + kHalf] = scale * static_cast<float>((from[2 + i] >> 4) - 8);
  }
}

// scale, minimum, 16 bytes: scale * q + minimum
SL_INLINE void q4_1_block(const Byte* __restrict from, float* __restrict to) {
  const float scale = half(from), minimum = half(from + 2);
  for (int i = 0; i < kHalf; ++i) {
    to[i] = scale * static_cast<float>(from[4 + i] & 0xf) + minimum;
    to[i + kHalf] = scale * static_cast<float>(from[4 + i] >> 4) + minimum;
  }
}

SL_INLINE std::uint32_t load_u32(const Byte* from) {
  std::uint32_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// The fifth bit of element i, in its place.
SL_INLINE int fifth_bit(std::uint32_t bits, int i) { return static_cast<int>(bits >> i << 4 & 0x10u); }

// scale, 32 fifth bits, 16 bytes: scale * (q - 16)
SL_INLINE void q5_0_block(const Byte* __restrict from, float* __restrict to) {
  const float scale = half(from);
  const std::uint32_t high = load_u32(from + 2);
  for (int i = 0; i < kHalf; ++i) {
    to[i] = scale * static_cast<float>(((from[6 + i] & 0xf) | fifth_bit(high, i)) - 16);
    to[i + kHalf] = scale * static_cast<float>(((from[6 + i] >> 4) | fifth_bit(high, i + kHalf)) - 16);
  }
}

// scale, minimum, 32 fifth bits, 16 bytes: scale * q + minimum
SL_INLINE void q5_1_block(const Byte* __restrict from, float* __restrict to) {
  const float scale = half(from), minimum = half(from + 2);
  const std::uint32_t high = load_u32(from + 4);
  for (int i = 0; i < kHalf; ++i) {
    to[i] = scale * static_cast<float>((from[8 + i] & 0xf) | fifth_bit(high, i)) + minimum;
    to[i + kHalf] = scale * static_cast<float>((from[8 + i] >> 4) | fifth_bit(high, i + kHalf)) + minimum;
  }
}

// scale, 32 signed bytes
SL_INLINE void q8_0_block(const Byte* __restrict from, float* __restrict to) {
  const float scale = half(from);
  for (int i = 0; i < kElements; ++i) to[i] = scale * static_cast<float>(static_cast<std::int8_t>(from[2 + i]));
}

// Four bits each as a value of `table`.
SL_INLINE void look_up(const Byte* __restrict from, float scale, const float (&table)[16], float* __restrict to) {
  for (int i = 0; i < kHalf; ++i) {
    to[i] = scale * table[from[i] & 0xf];
    to[i + kHalf] = scale * table[from[i] >> 4];
  }
}

SL_INLINE void iq4_nl_block(const Byte* __restrict from, float* __restrict to) {
  look_up(from + 2, half(from), kNonLinear, to);
}

// An exponent, 16 bytes. 2^(exponent - 128), half of what OCP's format says because kE2M1 is twice it; the two least
// are subnormal.
SL_INLINE void mxfp4_block(const Byte* __restrict from, float* __restrict to) {
  const std::uint32_t exponent = from[0];
  const std::uint32_t bits = exponent < 2 ? 0x00200000u << exponent : (exponent - 1) << 23;
  look_up(from + 1, std::bit_cast<float>(bits), kE2M1, to);
}

// A block of 256: scale, the high two bits and the low four bits of eight scales, 8 times 16 bytes.
SL_INLINE void iq4_xs_block(const Byte* __restrict from, float* __restrict to) {
  const float scale = half(from);
  const int high = load_u16(from + 2);
  for (std::ptrdiff_t part = 0; part < 8; ++part) {
    const int low = from[4 + part / 2] >> (part % 2 * 4) & 0xf;
    const int six = low | (high >> (2 * part) & 3) << 4;
    look_up(from + 8 + part * kHalf, scale * static_cast<float>(six - 32), kNonLinear, to + part * kElements);
  }
}

}  // namespace

SL_DEFINE_ROWS(q4_0, 18, kElements)
SL_DEFINE_ROWS(q4_1, 20, kElements)
SL_DEFINE_ROWS(q5_0, 22, kElements)
SL_DEFINE_ROWS(q5_1, 24, kElements)
SL_DEFINE_ROWS(q8_0, 34, kElements)
SL_DEFINE_ROWS(iq4_nl, 18, kElements)
SL_DEFINE_ROWS(mxfp4, 17, kElements)
SL_DEFINE_ROWS(iq4_xs, 136, 8 * kElements)

}  // namespace streamline::blocks
