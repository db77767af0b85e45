// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/schedule.h"

#include <gtest/gtest.h>

namespace streamline {
namespace {

TEST(Schedule, RisesLinearlyFallsAsACosineAndStaysAtItsMinimum) {
  const Schedule schedule{.warmup = 10, .total = 110, .maximum = 1e-3, .minimum = 1e-4};
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 0), 0);
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 5), 5e-4);
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 10), 1e-3);
  EXPECT_NEAR(learning_rate(schedule, 60), 5.5e-4, 1e-15);
  EXPECT_NEAR(learning_rate(schedule, 110), 1e-4, 1e-15);
  EXPECT_NEAR(learning_rate(schedule, 160), 1e-4, 1e-15);  // without the clamp 5.5e-4
  EXPECT_NEAR(learning_rate(schedule, 210), 1e-4, 1e-15);  // without the clamp 1e-3
}

TEST(Schedule, OfARunWithoutWarmupStartsAtItsMaximum) {
  EXPECT_DOUBLE_EQ(learning_rate({.warmup = 0, .total = 1, .maximum = 1e-3, .minimum = 0}, 0), 1e-3);
}

}  // namespace
}  // namespace streamline
