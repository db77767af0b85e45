// SPDX-License-Identifier: Apache-2.0
// The K types: blocks of 256 with one or two float16 scales, and a few bits of scale for each group of 16 or 32.
// Layouts in the order of the bytes; a group's elements have neighbouring bytes and the same bits of them.
#include "streamline/io/dequantize_blocks.h"

namespace streamline::blocks {
namespace {

constexpr int kElements = 256;

// 16 groups of 16: 4-bit scale and minimum each, 2-bit elements, scale, minimum: scale * q - minimum
SL_INLINE void q2_k_block(const Byte* __restrict from, float* __restrict to) {
  const Byte* quarters = from + 16;
  const float scale = half(from + 80), minimum = half(from + 82);
  for (std::ptrdiff_t group = 0; group < 16; ++group) {
    const float d = scale * static_cast<float>(from[group] & 0xf), m = minimum * static_cast<float>(from[group] >> 4);
    const Byte* bytes = quarters + group / 8 * 32 + group % 2 * 16;
    const int shift = group % 8 / 2 * 2;
    for (int i = 0; i < 16; ++i) to[group * 16 + i] = d * static_cast<float>(bytes[i] >> shift & 3) - m;
  }
}

// 16 groups of 16: third bits (inverted), low 2 bits, 6-bit scales, scale: scale * q, with q in [-4, 3]
SL_INLINE void q3_k_block(const Byte* __restrict from, float* __restrict to) {
  const Byte *quarters = from + 32, *scales = from + 96;
  const float scale = half(from + 108);
  for (std::ptrdiff_t group = 0; group < 16; ++group) {
    const int low = scales[group % 8] >> (group / 8 * 4) & 0xf, high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
    const float d = scale * static_cast<float>((low | high << 4) - 32);
    const Byte *bytes = quarters + group / 8 * 32 + group % 2 * 16, *thirds = from + group % 2 * 16;
    const int shift = group % 8 / 2 * 2, bit = group / 2;
    for (int i = 0; i < 16; ++i) {
      const int q = (bytes[i] >> shift & 3) - ((~thirds[i] >> bit & 1) << 2);
      to[group * 16 + i] = d * static_cast<float>(q);
    }
  }
}

// The 6-bit scales and minima of 8 groups in 12 bytes: of the first four the low 6 bits of bytes 0-3 and 4-7, of the
// last four the halves of bytes 8-11 below the high 2 bits of bytes 0-3 and 4-7.
struct Scales {
  float scale[8], minimum[8];
};
SL_INLINE Scales unpack_scales(const Byte* __restrict from) {
  const float scale = half(from), minimum = half(from + 2);
  const Byte* packed = from + 4;
  Scales scales;
  for (int i = 0; i < 4; ++i) {
    scales.scale[i] = scale * static_cast<float>(packed[i] & 0x3f);
    scales.minimum[i] = minimum * static_cast<float>(packed[i + 4] & 0x3f);
    scales.scale[i + 4] = scale * static_cast<float>((packed[i + 8] & 0xf) | (packed[i] >> 2 & 0x30));
    scales.minimum[i + 4] = minimum * static_cast<float>(packed[i + 8] >> 4 | (packed[i + 4] >> 2 & 0x30));
  }
  return scales;
}

// 8 groups of 32: scale, minimum, 12 bytes of them for the groups, 4-bit elements: scale * q - minimum
SL_INLINE void q4_k_block(const Byte* __restrict from, float* __restrict to) {
  const Scales scales = unpack_scales(from);
  const Byte* halves = from + 16;
  for (std::ptrdiff_t pair = 0; pair < 4; ++pair) {
    const float d0 = scales.scale[2 * pair], m0 = scales.minimum[2 * pair];
    const float d1 = scales.scale[2 * pair + 1], m1 = scales.minimum[2 * pair + 1];
    for (int i = 0; i < 32; ++i) to[pair * 64 + i] = d0 * static_cast<float>(halves[pair * 32 + i] & 0xf) - m0;
    for (int i = 0; i < 32; ++i) to[pair * 64 + 32 + i] = d1 * static_cast<float>(halves[pair * 32 + i] >> 4) - m1;
  }
}

// As Q4_K, with 32 bytes of fifth bits before the halves.
SL_INLINE void q5_k_block(const Byte* __restrict from, float* __restrict to) {
  const Scales scales = unpack_scales(from);
  const Byte *fifths = from + 16, *halves = from + 48;
  for (std::ptrdiff_t group = 0; group < 8; ++group) {
    const float d = scales.scale[group], m = scales.minimum[group];
    const Byte* bytes = halves + group / 2 * 32;
    for (int i = 0; i < 32; ++i) {
      const int q = (bytes[i] >> (group % 2 * 4) & 0xf) | (fifths[i] >> group & 1) << 4;
      to[group * 32 + i] = d * static_cast<float>(q) - m;
    }
  }
}

// 16 groups of 16: low 4 bits, high 2 bits, signed 8-bit scales, scale: scale * (q - 32)
SL_INLINE void q6_k_block(const Byte* __restrict from, float* __restrict to) {
  const Byte *high = from + 128, *scales = from + 192;
  const float scale = half(from + 208);
  for (std::ptrdiff_t group = 0; group < 16; ++group) {
    const float d = scale * static_cast<float>(static_cast<std::int8_t>(scales[group]));
    const std::ptrdiff_t part = group % 8 / 2, within = group % 2 * 16;  // 32 elements with the same bits
    const Byte* lows = from + group / 8 * 64 + part % 2 * 32 + within;
    const Byte* highs = high + group / 8 * 32 + within;
    for (int i = 0; i < 16; ++i) {
      const int q = (lows[i] >> (part / 2 * 4) & 0xf) | (highs[i] >> (part * 2) & 3) << 4;
      to[group * 16 + i] = d * static_cast<float>(q - 32);
    }
  }
}

}  // namespace

SL_DEFINE_ROWS(q2_k, 84, kElements)
SL_DEFINE_ROWS(q3_k, 110, kElements)
SL_DEFINE_ROWS(q4_k, 144, kElements)
SL_DEFINE_ROWS(q5_k, 176, kElements)
SL_DEFINE_ROWS(q6_k, 210, kElements)

}  // namespace streamline::blocks
