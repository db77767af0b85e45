// SPDX-License-Identifier: Apache-2.0
// Which entries of a task vector take part in a merge: the largest, found by counting instead of sorting, so that
// nothing but counts is kept of a tensor of any size.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace streamline::merge {

// The order statistic of magnitudes by their bits, 16 and then 15 of them: fill() is called twice and must show add()
// the same numbers both times.
class MagnitudeCounts {
 public:
  // Counts of one share of the numbers; shares are added up in any order.
  using Counts = std::vector<std::int64_t>;
  Counts empty() const { return Counts(kBuckets, 0); }
  void count(std::span<const float> values, Counts& counts) const;

  // After the first pass: the bucket with the kept-th largest magnitude is told apart by the second. `kept` ≥ 1.
  void narrow(const Counts& counts, std::int64_t kept);
  // After the second: the kept-th largest magnitude, and how many of those equal to it belong to the kept.
  struct Found {
    float magnitude = 0;
    std::int64_t equal = 0, equal_kept = 0;
  };
  Found find(const Counts& counts) const;

 private:
  static constexpr std::size_t kBuckets = std::size_t{1} << 16;
  std::int64_t bucket_ = -1;    // of the first pass
  std::int64_t remaining_ = 0;  // to be kept of it
};

// Whether the entry at `index` of a tensor is among the random share: the same at every run and thread count.
bool is_drawn(std::uint64_t seed, std::uint64_t index, double density);

}  // namespace streamline::merge
