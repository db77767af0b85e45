// SPDX-License-Identifier: Apache-2.0
// Order statistics from a bracket against a sort.
#include "streamline/merge/bracket_counts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace streamline::test {
namespace {

using merge::Bf16Difference;
using merge::Bracket;
using merge::BracketCounts;
using merge::Magnitude;

// Two tensors of few different numbers, so that many differences are equal.
struct Pair {
  std::vector<simd::Bf16> values, base;

  explicit Pair(std::size_t count) : values(count), base(count) {
    Rng rng(7);
    for (std::size_t i = 0; i < count; ++i) {
      simd::store(&base[i], static_cast<float>(rng.normal()));
      simd::store(&values[i], simd::load(&base[i]) + static_cast<float>(0.02 * rng.normal()));
    }
  }

  Bf16Difference difference() const { return {values.data(), base.data(), static_cast<std::int64_t>(values.size())}; }
  std::vector<Magnitude> sorted() const {
    std::vector<Magnitude> magnitudes;
    for (std::size_t i = 0; i < values.size(); ++i)
      magnitudes.push_back(merge::magnitude_of(simd::load(&values[i]) - simd::load(&base[i])));
    std::sort(magnitudes.begin(), magnitudes.end(), std::greater());
    return magnitudes;
  }
};

// Counted in two parts.
BracketCounts counted(const Bracket& bracket, const Pair& pair) {
  const Bf16Difference all = pair.difference();
  std::vector<Magnitude> room;
  BracketCounts counts = count_beside(bracket, all.part(0, 777), room);
  return counts += count_beside(bracket, all.part(777, all.count - 777), room);
}

TEST(BracketCounts, FindWhatSortingWould) {
  const Pair pair(5003);
  const std::vector<Magnitude> sorted = pair.sorted();
  const auto rank_of = [&](Magnitude magnitude) {
    return std::lower_bound(sorted.begin(), sorted.end(), magnitude, std::greater()) - sorted.begin();
  };
  for (const auto& [first, last] : {std::pair{900, 1100}, {0, 5002}, {1000, 1000}, {3000, 5002}}) {
    const auto upper = static_cast<std::size_t>(first), lower = static_cast<std::size_t>(last);
    const Bracket bracket{.low = sorted[lower], .high = sorted[upper]};
    for (const std::int64_t kept : {1, 2, 850, 901, 950, 1001, 1100, 1101, 2500, 3500, 5003}) {
      const Magnitude expected = sorted[static_cast<std::size_t>(kept - 1)];
      BracketCounts counts = counted(bracket, pair);
      const auto found = find_in(bracket, counts, kept);
      ASSERT_EQ(found.has_value(), expected >= bracket.low && expected <= bracket.high) << first << " " << kept;
      if (!found) continue;
      EXPECT_EQ(merge::magnitude_of(found->magnitude), expected);
      EXPECT_EQ(found->equal, std::ranges::count(sorted, expected));
      EXPECT_EQ(found->equal_kept, kept - rank_of(expected));
      EXPECT_EQ(counts.equal_to(expected, bracket), found->equal);
    }
  }
}

TEST(BracketCounts, CountsAllThatIsNoNumberAboveInfinity) {
  Pair pair(3);
  simd::store(&pair.base[1], 0);
  simd::store(&pair.values[1], INFINITY);
  pair.values[2] = 0xffc1;  // -NaN
  const Magnitude infinity = merge::magnitude_of(INFINITY);
  std::vector<Magnitude> room;
  const BracketCounts counts = count_beside({.low = 0, .high = infinity}, pair.difference(), room);
  EXPECT_EQ(counts.above, 1);
  EXPECT_EQ(counts.at_high, 1);
}

// All of them where there are few, else some of every part.
TEST(BracketCounts, SampleEveryPart) {
  const Pair pair(40'000);
  Rng rng(1);
  std::vector<Magnitude> all, some;
  add_sample(pair.difference(), 1, rng, all);
  std::sort(all.begin(), all.end(), std::greater());
  EXPECT_EQ(all, pair.sorted());
  add_sample(pair.difference(), 10, rng, some);
  EXPECT_NEAR(static_cast<double>(some.size()), 4000, 32);
}

TEST(BracketCounts, BracketsAShareOfTheSample) {
  std::vector<Magnitude> sample;
  for (Magnitude magnitude = 0; magnitude < 10'000; ++magnitude) sample.push_back(magnitude * 7919 % 10'000);
  const Bracket middle = merge::bracket_of(sample, 0.2);
  EXPECT_LT(middle.low, 8000);
  EXPECT_GT(middle.high, 8000);
  EXPECT_GT(middle.low, 7800);  // four deviations are 160
  EXPECT_LT(middle.high, 8200);
  // Nothing of the whole need be in the sample at either end.
  EXPECT_GE(merge::bracket_of(sample, 1e-5).high, merge::magnitude_of(INFINITY));
  EXPECT_LT(merge::bracket_of(sample, 1 - 1e-5).low, 0);
}

}  // namespace
}  // namespace streamline::test
