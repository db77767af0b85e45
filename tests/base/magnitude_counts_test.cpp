// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/magnitude_counts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "streamline/base/random.h"

namespace streamline {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Counted in two shares, the second first.
template <class Element>
MagnitudeCounts::Found found_in(const std::vector<Element>& values, std::int64_t kept) {
  const std::span<const Element> all(values), first = all.first(all.size() / 3), rest = all.subspan(all.size() / 3);
  MagnitudeCounts magnitudes;
  const auto counts = [&] {
    MagnitudeCounts::Counts own = magnitudes.empty();
    magnitudes.count(rest, own);
    magnitudes.count(first, own);
    return own;
  };
  magnitudes.narrow(counts(), kept);
  return magnitudes.find(counts());
}

void expect_as_sorted(const MagnitudeCounts::Found& found, const std::vector<float>& values, std::int64_t kept) {
  std::vector<float> sorted;
  for (const float value : values) sorted.push_back(std::abs(value));
  std::sort(sorted.begin(), sorted.end(), std::greater());
  const float expected = sorted[static_cast<std::size_t>(kept - 1)];
  EXPECT_EQ(found.magnitude, expected) << kept;
  EXPECT_EQ(found.equal, std::count(sorted.begin(), sorted.end(), expected)) << kept;
  EXPECT_EQ(found.equal_kept, std::count(sorted.begin(), sorted.begin() + kept, expected)) << kept;
}

// Of many orders of magnitude, most of them equal to others, denormals and infinities among them.
TEST(MagnitudeCounts, FindWhatSortingWould) {
  Rng rng(3);
  std::vector<float> values = {0.0F, -0.0F, 1e-42F, -1e-42F, 3e38F, kInfinity, -kInfinity};
  while (values.size() < 1001) {
    const auto step = static_cast<int>(rng.below(300)) - 150;
    values.push_back(std::copysign(std::ldexp(1.0F + static_cast<float>(std::abs(step) % 7) / 8, step / 4),
                                   static_cast<float>(step)));
  }
  std::vector<simd::Bf16> narrow(values.size());
  std::vector<float> widened;
  for (std::size_t i = 0; i < values.size(); ++i) {
    simd::store(&narrow[i], values[i]);
    widened.push_back(simd::load(&narrow[i]));
  }
  for (const std::int64_t kept : {1, 2, 3, 250, 500, 777, 998, 1001}) {
    expect_as_sorted(found_in(values, kept), values, kept);
    expect_as_sorted(found_in(narrow, kept), widened, kept);
  }
}

TEST(MagnitudeCounts, WhatIsNoNumberStandsAboveInfinity) {
  const std::vector<float> values = {1, NAN, -kInfinity, 2, -NAN};
  EXPECT_TRUE(std::isnan(found_in(values, 2).magnitude));
  EXPECT_EQ(found_in(values, 3).magnitude, kInfinity);
  EXPECT_EQ(found_in(values, 4).magnitude, 2);
}

}  // namespace
}  // namespace streamline
