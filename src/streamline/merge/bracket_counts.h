// SPDX-License-Identifier: Apache-2.0
// The order statistic of magnitudes in one pass over them: a sample says between which two it lies; the pass counts
// what is above, counts what equals one of the two (of differences of bfloat16 numbers many are equal) and keeps what
// is between, a hundredth of all. A sample that was not like the whole is noticed, and nothing is found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "streamline/base/magnitude_counts.h"
#include "streamline/base/random.h"

namespace streamline::merge {

// What a tensor is beyond another, both in memory.
struct Bf16Difference {
  const simd::Bf16 *values = nullptr, *base = nullptr;
  std::int64_t count = 0;

  Bf16Difference part(std::int64_t first, std::int64_t size) const { return {values + first, base + first, size}; }
};

// A magnitude is the bits of a float32 without its sign: in the order of magnitudes, NaN above infinity.
using Magnitude = std::int32_t;

inline Magnitude magnitude_of(float value) {
  return static_cast<Magnitude>(std::bit_cast<std::uint32_t>(value) & 0x7fffffffu);
}
inline float value_of(Magnitude magnitude) { return std::bit_cast<float>(magnitude); }

// Adds some of the magnitudes, of all parts alike: about one of `every`.
void add_sample(const Bf16Difference& difference, std::int64_t every, Rng& rng, std::vector<Magnitude>& to);

struct Bracket {
  Magnitude low = 0, high = 0;
};
// Between which magnitudes the one lies that so large a share of all is not below. Orders the sample anew, which must
// not be empty.
Bracket bracket_of(std::span<Magnitude> sample, double share);

// Of a part of the magnitudes, beside a bracket.
struct BracketCounts {
  std::int64_t above = 0, at_high = 0, at_low = 0;
  std::vector<Magnitude> between = {};

  BracketCounts& operator+=(const BracketCounts& other);
  // How many equal one that lies in the bracket.
  std::int64_t equal_to(Magnitude magnitude, const Bracket& bracket) const;
};
// `room` is overwritten.
BracketCounts count_beside(const Bracket& bracket, const Bf16Difference& difference, std::vector<Magnitude>& room);

// As MagnitudeCounts::find() would, from the counts of all; nothing where the magnitude lies outside the bracket.
// Orders `counts.between` anew. `kept` ≥ 1.
std::optional<MagnitudeCounts::Found> find_in(const Bracket& bracket, BracketCounts& counts, std::int64_t kept);

}  // namespace streamline::merge
