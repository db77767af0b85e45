// SPDX-License-Identifier: Apache-2.0
#include "streamline/merge/kept_entries.h"

#include <bit>

#include "streamline/base/error.h"
#include "streamline/base/random.h"

namespace streamline::merge {
namespace {

constexpr std::uint64_t kStep = 0x9E3779B97F4A7C15ULL;  // between two states of Rng
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

void MagnitudeCounts::count(std::span<const float> values, Counts& counts) const {
  for (const float value : values) {
    const std::uint32_t bits = magnitude_bits(value);
    if (bucket_ < 0) {
      ++counts[bits >> kLowBits];
    } else if (static_cast<std::int64_t>(bits >> kLowBits) == bucket_) {
      ++counts[bits & ((1u << kLowBits) - 1)];
    }
  }
}

void MagnitudeCounts::narrow(const Counts& counts, std::int64_t kept) {
  std::tie(bucket_, remaining_) = bucket_from_above(counts, kept);
}

MagnitudeCounts::Found MagnitudeCounts::find(const Counts& counts) const {
  const auto [low, kept] = bucket_from_above(counts, remaining_);
  const auto bits = static_cast<std::uint32_t>(bucket_ << kLowBits | low);
  return {std::bit_cast<float>(bits), counts[static_cast<std::size_t>(low)], kept};
}

bool is_drawn(std::uint64_t seed, std::uint64_t index, double density) {
  return Rng(seed + index * kStep).uniform() < density;
}

}  // namespace streamline::merge
