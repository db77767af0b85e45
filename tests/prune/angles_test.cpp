// SPDX-License-Identifier: Apache-2.0
// Angles between hidden states; checks are those of The Unreasonable Ineffectiveness of the Deeper Layers, by number.
#include "streamline/prune/angles.h"

#include <cmath>
#include <numbers>

#include "streamline/prune/pair_statistics.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

double distance(const std::vector<double>& u, const std::vector<double>& v) { return angular_distances({u, v})[1]; }

TEST(AngularDistance, Check1IsTheShareOfTheHalfTurn) {
  const std::vector<double> x = {1, 0};
  EXPECT_EQ(distance(x, x), 0);
  EXPECT_NEAR(distance(x, {0, 2}), 0.5, 1e-15);
  EXPECT_NEAR(distance(x, {-3, 0}), 1, 1e-15);
  EXPECT_NEAR(distance(x, {0.5, std::sqrt(0.75)}), 1.0 / 3, 1e-15);
  EXPECT_NEAR(distance(x, {0.97013, std::sqrt(1 - 0.97013 * 0.97013)}), 0.0780, 5e-5);
}

TEST(AngularDistance, KeepsItsDigitsWhereTheVectorsNearlyCoincide) {
  EXPECT_NEAR(distance({1, 0}, {1, 1e-9}), 1e-9 / std::numbers::pi, 1e-22);
}

TEST(AngularDistance, Check5IgnoresPositiveFactors) {
  const std::vector<double> u = {0.3, -2, 5}, v = {1, 1, 4};
  EXPECT_NEAR(distance(u, v), distance({300, -2000, 5000}, v), 1e-15);
}

TEST(AngularDistance, OfAZeroVectorIsARightAngle) {
  EXPECT_EQ(distance({0, 0}, {1, 0}), 0.5);
  EXPECT_EQ(distance({0, 0}, {0, 0}), 0.5);
}

TEST(AngularDistance, OfCosinesIsTheArcCosine) {
  std::vector<float> versed;
  for (int k = 0; k <= 2000; ++k) versed.push_back(static_cast<float>(k) / 1000);
  versed.push_back(1e-12F);
  std::vector<double> sums(versed.size(), 1.0);
  add_angular_distances(versed.data(), sums.data(), std::ssize(versed));
  for (std::size_t k = 0; k < versed.size(); ++k) {
    const double expected = 2 * std::asin(std::sqrt(static_cast<double>(versed[k]) / 2)) / std::numbers::pi;
    // Near the opposite direction it is 1 - x that is exact.
    const double tolerance = versed[k] < 1 ? 3e-7 * expected + 1e-15 : 2e-7;
    EXPECT_NEAR(sums[k] - 1, expected, tolerance) << versed[k];
  }
}

TEST(PairStatistics, AverageTheAnglesAndNotTheCosines) {
  const auto in = torch::tensor({{1.0F, 0.0F}, {1.0F, 0.0F}}), out = torch::tensor({{0.0F, 1.0F}, {1.0F, 0.0F}});
  const std::vector<torch::Tensor> states = {in, out};
  for (const PairStatistics& s : {pair_statistics(states), pair_statistics_by_tensors(states)}) {
    EXPECT_NEAR(s.angular[1], 0.25, 1e-6);  // of 1/2 and 0; the angle of the mean cosine would be 1/3
    EXPECT_EQ(s.angular_last[1], 0);
    EXPECT_EQ(s.angular_last[2], 0);
  }
}

}  // namespace
}  // namespace streamline
