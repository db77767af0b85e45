// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/magnitude_counts.h"

#include <bit>
#include <tuple>
#include <utility>

#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr int kLowBits = 15;

std::uint32_t magnitude_bits(float value) { return std::bit_cast<std::uint32_t>(value) & 0x7fffffffu; }

// The bucket that holds the kept-th number from above, and how many are kept of it.
std::pair<std::int64_t, std::int64_t> bucket_from_above(const MagnitudeCounts::Counts& counts, std::int64_t kept) {
  for (std::size_t bucket = counts.size(); bucket-- > 0;) {
    if (kept <= counts[bucket]) return {static_cast<std::int64_t>(bucket), kept};
    kept -= counts[bucket];
  }
  SL_ASSERT(false);
  return {};
}

}  // namespace

template <class Element>
void MagnitudeCounts::count_of(std::span<const Element> values, Counts& counts) const {
  const std::int64_t bucket = bucket_;  // which the counts, of the same type, might be as far as the compiler knows
  for (const Element& value : values) {
    const std::uint32_t bits = magnitude_bits(simd::load(&value));
    if (bucket < 0) {
      ++counts[bits >> kLowBits];
    } else if (static_cast<std::int64_t>(bits >> kLowBits) == bucket) {
      ++counts[bits & ((1u << kLowBits) - 1)];
    }
  }
}

void MagnitudeCounts::count(std::span<const float> values, Counts& counts) const { count_of(values, counts); }
void MagnitudeCounts::count(std::span<const simd::Bf16> values, Counts& counts) const { count_of(values, counts); }

void MagnitudeCounts::narrow(const Counts& counts, std::int64_t kept) {
  std::tie(bucket_, remaining_) = bucket_from_above(counts, kept);
}

MagnitudeCounts::Found MagnitudeCounts::find(const Counts& counts) const {
  const auto [low, kept] = bucket_from_above(counts, remaining_);
  const auto bits = static_cast<std::uint32_t>(bucket_ << kLowBits | low);
  return {std::bit_cast<float>(bits), counts[static_cast<std::size_t>(low)], kept};
}

}  // namespace streamline
