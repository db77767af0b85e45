// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/rope.h"

#include <cmath>

#include "streamline/nn/attention.h"
#include "support/core/expect.h"
#include "support/torch/layers.h"
#include "support/torch/pico.h"

namespace streamline {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

constexpr double kTolerance = 1e-12;

auto near(std::vector<double> values) {
  std::vector<testing::Matcher<double>> matchers;
  for (const double value : values) matchers.push_back(DoubleNear(value, kTolerance));
  return testing::ElementsAreArray(matchers);
}

TEST(Rope, TurnsPairJByThetaToTheMinusTwoJOverDim) {
  EXPECT_THAT(rope_frequencies({.theta = 10000}, 8, 64, 64), near({1, 0.1, 0.01, 0.001}));
}

TEST(Rope, LinearScalingDividesEveryFrequency) {
  EXPECT_THAT(rope_frequencies({.theta = 10000, .scaling = RopeScaling::linear, .factor = 4}, 8, 64, 64),
              near({0.25, 0.025, 0.0025, 0.00025}));
}

TEST(Rope, DynamicScalingChangesNothingUpToTheTrainedLength) {
  const RopeConfig rope{.theta = 10000, .scaling = RopeScaling::dynamic, .factor = 2};
  EXPECT_THAT(rope_frequencies(rope, 8, 64, 64), near({1, 0.1, 0.01, 0.001}));
}

// Twice the length and factor 2: the base grows by (2 * 2 - 1)^(8 / 6), so the slowest pair slows by just 3.
TEST(Rope, DynamicScalingStretchesTheSlowestPair) {
  const RopeConfig rope{.theta = 10000, .scaling = RopeScaling::dynamic, .factor = 2};
  const auto scaled = rope_frequencies(rope, 8, 64, 128);
  EXPECT_NEAR(scaled[0], 1, kTolerance);
  EXPECT_NEAR(scaled[3], 0.001 / 3, kTolerance);
}

// Original length 2 pi * 100: pair 0 turns 100 times (kept), pair 1 10 times, pair 2 once and pair 3 0.1 times
// (divided).
TEST(Rope, Llama3ScalingKeepsShortWavelengthsAndStretchesLongOnes) {
  RopeConfig rope{.theta = 10000,
                  .scaling = RopeScaling::llama3,
                  .factor = 8,
                  .low_frequency_factor = 1,
                  .high_frequency_factor = 4,
                  .original_max_positions = 628};
  const auto scaled = rope_frequencies(rope, 8, 2048, 64);
  EXPECT_NEAR(scaled[0], 1, kTolerance);
  EXPECT_NEAR(scaled[1], 0.1, kTolerance);
  EXPECT_NEAR(scaled[2], 0.01 / 8, 1e-5);
  EXPECT_NEAR(scaled[3], 0.001 / 8, kTolerance);
}

TEST(Rope, TurnsTheHalvesOfAHeadAgainstEachOther) {
  Config config = test::layer_test_config();
  config.layers[0].attention->head_dim = 2;
  const Positions positions = rope_positions(config, 5, 1, torch::kCPU);  // one pair, frequency 1
  const auto y = rotate(torch::tensor({{{{1.0f, 0.0f}}}}), positions.global);
  EXPECT_NEAR(y.flatten()[0].item<float>(), std::cos(5.0), 1e-6);
  EXPECT_NEAR(y.flatten()[1].item<float>(), std::sin(5.0), 1e-6);
}

TEST(Rope, TablesStartAtTheFirstPosition) {
  const Config config = test::layer_test_config();
  const Positions all = rope_positions(config, 0, 9, torch::kCPU), tail = rope_positions(config, 4, 5, torch::kCPU);
  EXPECT_TRUE(torch::equal(all.global.cos.narrow(0, 4, 5), tail.global.cos));
  EXPECT_TRUE(torch::equal(all.global.sin.narrow(0, 4, 5), tail.global.sin));
}

// Original length 2 pi * 1000 and base 10^4 over 8 components: pair 0 turns 1000 times, each further one a tenth as
// often. 100 turns and more stay (pair 1), one and fewer are divided (pair 3), pair 2 lies in the middle.
TEST(Rope, YarnBlendsThePairsBetweenFastAndSlow) {
  const RopeConfig rope{.theta = 10000,
                        .scaling = RopeScaling::yarn,
                        .factor = 8,
                        .original_max_positions = 6283,
                        .beta_fast = 100,
                        .beta_slow = 1,
                        .truncate = false};
  const auto scaled = rope_frequencies(rope, 8, 50000, 64);
  EXPECT_NEAR(scaled[0], 1, kTolerance);
  EXPECT_NEAR(scaled[1], 0.1, 1e-5);
  EXPECT_NEAR(scaled[2], 0.01 * (1 + 1 / 8.0) / 2, 1e-5);
  EXPECT_NEAR(scaled[3], 0.001 / 8, 1e-5);
}

TEST(Rope, LongRopeHasAFactorAPairAndOthersBeyondTheOriginalLength) {
  const RopeConfig rope{.theta = 10000,
                        .scaling = RopeScaling::longrope,
                        .original_max_positions = 64,
                        .short_factors = {1, 1, 2, 2},
                        .long_factors = {1, 2, 4, 10}};
  EXPECT_THAT(rope_frequencies(rope, 8, 512, 64), near({1, 0.1, 0.005, 0.0005}));
  EXPECT_THAT(rope_frequencies(rope, 8, 512, 65), near({1, 0.05, 0.0025, 0.0001}));
}

TEST(Rope, TurnsNeighboursWhereAskedAndLeavesTheRestOfAHead) {
  const RotaryTable quarter{torch::zeros({1, 2}), torch::ones({1, 2})};  // two pairs by 90 degrees
  const auto x = torch::tensor({{{{1.f, 2.f, 3.f, 4.f, 5.f}}}});
  EXPECT_TRUE(torch::equal(rotate(x, quarter, true), torch::tensor({{{{-2.f, 1.f, -4.f, 3.f, 5.f}}}})));
  EXPECT_TRUE(torch::equal(rotate(x, quarter, false), torch::tensor({{{{-3.f, -4.f, 1.f, 2.f, 5.f}}}})));
}

TEST(Rope, FamiliesWithLearnedPositionsHaveNoTables) {
  const Config config = test::layer_test_config({.position = Position::learned});
  EXPECT_FALSE(rope_positions(config, 0, 9, torch::kCPU).global.cos.defined());
}

TEST(AttentionMask, ShowsATokenItselfAndTheWindowBeforeIt) {
  const auto mask = attention_mask(2, 4, 2, torch::kCPU);  // positions 2 and 3 of 4
  const auto expected = torch::tensor({{false, true, true, false}, {false, false, true, true}});
  EXPECT_TRUE(torch::equal(mask, expected));
}

}  // namespace
}  // namespace streamline
