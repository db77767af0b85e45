// SPDX-License-Identifier: Apache-2.0
#include "streamline/merge/kept_entries.h"

#include <cmath>
#include <cstddef>

#include "streamline/base/simd.h"

namespace streamline::merge {
namespace {

SL_INLINE void drop_smaller_body(std::int32_t least, std::size_t count, float* __restrict values) {
  for (std::size_t i = 0; i < count; ++i) {
    const auto magnitude = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(values[i]) & 0x7fffffffu);
    values[i] = magnitude < least ? 0 : values[i];
  }
}
SL_DISPATCH(drop_smaller, (std::int32_t least, std::size_t count, float* values), (least, count, values))

// Each entry has the first number of a generator of its own (base/random.h), seeded with the entry's index times the
// step between two states.
SL_INLINE void draw_body(std::uint64_t seed, std::uint64_t first, std::uint64_t bound, std::size_t count,
                         std::uint32_t* __restrict masks) {
  constexpr std::uint64_t kStep = 0x9E3779B97F4A7C15ULL;
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t z = seed + (first + i + 1) * kStep;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    z ^= z >> 31;
    // The sign of the difference of two numbers of 53 bits: no instruction before AVX-512 compares unsigned ones.
    masks[i] = static_cast<std::uint32_t>(0) - static_cast<std::uint32_t>(((z >> 11) - bound) >> 63);
  }
}
SL_DISPATCH(draw,
            (std::uint64_t seed, std::uint64_t first, std::uint64_t bound, std::size_t count, std::uint32_t* masks),
            (seed, first, bound, count, masks))

}  // namespace

void drop_below(std::uint32_t bits, std::span<float> values) {
  drop_smaller(static_cast<std::int32_t>(bits), values.size(), values.data());
}

// A number k of 53 bits stands for k / 2^53, which is below the density where k is below the density times 2^53.
void draw_entries(std::uint64_t seed, std::uint64_t first, double density, std::span<std::uint32_t> masks) {
  draw(seed, first, static_cast<std::uint64_t>(std::ceil(density * 0x1.0p53)), masks.size(), masks.data());
}

}  // namespace streamline::merge
