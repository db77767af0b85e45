// SPDX-License-Identifier: Apache-2.0
// The order statistic of magnitudes, found by counting instead of sorting: nothing but counts is kept of numbers,
// however many they are.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "streamline/base/simd.h"

namespace streamline {

// By their bits, 16 and then 15 of them: count() must see the same numbers in both passes. NaN stands above infinity.
class MagnitudeCounts {
 public:
  // Counts of one share of the numbers; shares are added up in any order.
  using Counts = std::vector<std::int64_t>;
  Counts empty() const { return Counts(kBuckets, 0); }
  void count(std::span<const float> values, Counts& counts) const;
  void count(std::span<const simd::Bf16> values, Counts& counts) const;

  // After the first pass: the bucket with the kept-th largest magnitude is told apart by the second. `kept` ≥ 1.
  void narrow(const Counts& counts, std::int64_t kept);
  // After the second: the kept-th largest magnitude, and how many of those equal to it belong to the kept.
  struct Found {
    float magnitude = 0;
    std::int64_t equal = 0, equal_kept = 0;
  };
  Found find(const Counts& counts) const;

 private:
  template <class Element>
  void count_of(std::span<const Element> values, Counts& counts) const;

  static constexpr std::size_t kBuckets = std::size_t{1} << 16;
  std::int64_t bucket_ = -1;    // of the first pass
  std::int64_t remaining_ = 0;  // to be kept of it
};

}  // namespace streamline
