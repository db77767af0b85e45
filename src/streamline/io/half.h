// SPDX-License-Identifier: Apache-2.0
// IEEE 754 binary16 as its bits, to and from float. Without a branch, so that loops over these vectorise: the compiler
// would make one of a condition.
#pragma once

#include <bit>
#include <cstdint>

#include "streamline/base/simd.h"

namespace streamline {

constexpr std::uint16_t kHalfInfinity = 0x7c00;

SL_INLINE float half_to_float(std::uint16_t bits) {
  const std::uint32_t magnitude = bits & 0x7fffu;
  const std::uint32_t normal = (magnitude << 13) + (112u << 23);
  const std::uint32_t special = 0u - static_cast<std::uint32_t>(magnitude >= 0x7c00u);  // infinity, NaN
  const std::uint32_t small = 0u - static_cast<std::uint32_t>(magnitude < 0x400u);
  const auto tiny = std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24f);
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  return std::bit_cast<float>(sign | (tiny & small) | (normal & ~small) | (0x7f800000u & special));
}

// To the nearest, ties to even; from 65520 on, and of NaN, infinity.
SL_INLINE std::uint16_t float_to_half(float value) {
  constexpr float kHalf = 0.5f;
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const std::uint32_t small = 0u - static_cast<std::uint32_t>(magnitude < 0x38800000u);   // below 2^-14
  const std::uint32_t large = 0u - static_cast<std::uint32_t>(magnitude >= 0x47800000u);  // from 2^16 on
  // A multiple of 2^-24, which the sum rounds to.
  const std::uint32_t tiny =
      std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + kHalf) - std::bit_cast<std::uint32_t>(kHalf);
  // Rounding may carry into the exponent, up to infinity.
  const std::uint32_t normal = (magnitude - (112u << 23) + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  return static_cast<std::uint16_t>((bits >> 16 & 0x8000u) | (tiny & small) | (normal & ~small & ~large) |
                                    (kHalfInfinity & large));
}

}  // namespace streamline
