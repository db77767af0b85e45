// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/pace.h"

#include <gmock/gmock.h>

#include "tests/heal/pico.h"

namespace streamline {
namespace {

using test::random_tokens;
using ::testing::ElementsAre;

TEST(Pace, GivesAFewHundredStepsToAShortRun) {
  const Pace pace = pace_of(random_tokens(600, 16, 1), random_tokens(4, 16, 2), 1e-3, {});
  EXPECT_EQ(pace.sequences_per_step, 2);
  EXPECT_EQ(pace.steps, 300);
  EXPECT_DOUBLE_EQ(pace.learning_rate, 1e-3);
}

TEST(Pace, KeepsTheRemainderAsASmallerStep) {
  const Pace pace = pace_of(random_tokens(10, 8, 1), random_tokens(1, 8, 2), 1e-3, {.epochs = 2, .batch_tokens = 32});
  EXPECT_EQ(pace.sequences_per_step, 4);
  EXPECT_EQ(pace.steps_per_epoch, 3);
  EXPECT_EQ(pace.steps, 6);
}

TEST(Pace, ValidatesSeldomWhenValidationIsLarge) {
  const TokenBatches training = random_tokens(100, 16, 1);
  const HealOptions options{.batch_tokens = 16};
  EXPECT_EQ(pace_of(training, random_tokens(1, 16, 2), 1e-3, options).validate_every, 10);
  EXPECT_EQ(pace_of(training, random_tokens(5, 16, 2), 1e-3, options).validate_every, 34);  // 3 looks
  EXPECT_EQ(pace_of(training, random_tokens(50, 16, 2), 1e-3, options).validate_every, 100);
}

TEST(Pace, MicroBatchesHoldSequencesOfOneLengthUpToTheLimit) {
  TokenBatches batches;
  for (const std::size_t length : {4, 8, 4, 4, 9, 4}) batches.sequences.emplace_back(length, 0);
  EXPECT_THAT(micro_batches(batches, {0, 1, 2, 3, 4, 5}, 8),
              ElementsAre(ElementsAre(0, 2), ElementsAre(3, 5), ElementsAre(1), ElementsAre(4)));
}

}  // namespace
}  // namespace streamline
