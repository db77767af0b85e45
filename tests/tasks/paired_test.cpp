// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/paired.h"

#include <cmath>

#include "support/core/expect.h"

namespace streamline {
namespace {

// Values from integer arithmetic: 2 · sum of binomial coefficients / 2^n.
TEST(McNemar, IsTheExactBinomialTest) {
  EXPECT_DOUBLE_EQ(mcnemar(0, 0), 1);
  EXPECT_NEAR(mcnemar(1, 0), 1, 1e-12);
  EXPECT_NEAR(mcnemar(5, 1), 0.21875, 1e-12);
  EXPECT_NEAR(mcnemar(3, 12), 0.03515625, 1e-12);
  EXPECT_NEAR(mcnemar(10, 10), 1, 1e-12);
  EXPECT_NEAR(mcnemar(400, 500), 0.0009564441369189461, 1e-12);
  EXPECT_NEAR(mcnemar(3000, 3300), 0.00016475607669748032, 1e-13);
}

// Ends of the Clopper-Pearson interval from sums of binomial coefficients, in Python's integers and floats.
TEST(DifferenceInterval, IsTheExactOneOfTheChangedQuestions) {
  const Interval lost = difference_interval(12, 2, 100), few = difference_interval(3, 0, 10);
  EXPECT_NEAR(lost.low, -0.13501753566470637, 1e-12);
  EXPECT_NEAR(lost.high, -0.0201238349452843, 1e-12);
  EXPECT_NEAR(few.low, -0.3, 1e-12);
  EXPECT_NEAR(few.high, 0.12455893570722802, 1e-12);
  const Interval none = difference_interval(0, 0, 50);
  EXPECT_NEAR(none.high, 0.058155079116972264, 1e-12);
  EXPECT_EQ(none.low, -none.high);
}

TEST(DifferenceInterval, LeavesOutNothingExactlyWhereTheTestSaysSo) {
  for (std::int64_t lost = 0; lost <= 24; ++lost)
    for (std::int64_t gained = 0; gained <= 24; ++gained) {
      const Interval interval = difference_interval(lost, gained, 60);
      const bool certain = interval.low > 0 || interval.high < 0;
      EXPECT_EQ(certain, mcnemar(lost, gained) < 0.05) << lost << " lost, " << gained << " gained";
      const double difference = static_cast<double>(gained - lost) / 60;
      EXPECT_LE(interval.low, difference);
      EXPECT_GE(interval.high, difference);
    }
}

TEST(Paired, CountsSidesAndTakesTheErrorOfTheDifference) {
  const std::vector<bool> first = {true, true, true, false, false}, second = {true, false, false, true, false};
  const PairedDifference paired = paired_difference(first, second);
  EXPECT_EQ(paired.both_right, 1);
  EXPECT_EQ(paired.only_first, 2);
  EXPECT_EQ(paired.only_second, 1);
  EXPECT_EQ(paired.both_wrong, 1);
  EXPECT_EQ(paired.questions(), 5);
  EXPECT_DOUBLE_EQ(paired.difference, -0.2);
  // Differences 0, -1, -1, 1, 0: squares around -0.2 add up to 2.8.
  EXPECT_DOUBLE_EQ(paired.standard_error.value(), std::sqrt(2.8 / 4 / 5));
  EXPECT_DOUBLE_EQ(paired.p_value, mcnemar(2, 1));
  EXPECT_DOUBLE_EQ(paired_difference(second, first).difference, 0.2);
}

TEST(Paired, AModelDoesNotDifferFromItself) {
  const PairedDifference paired = paired_difference(std::vector<bool>{true, false}, std::vector<bool>{true, false});
  EXPECT_EQ(paired.difference, 0);
  EXPECT_EQ(paired.standard_error, 0);
  EXPECT_EQ(paired.p_value, 1);
}

TEST(Paired, PairsSetsByTheirQuestionsIds) {
  TaskAnswers a{.name = "set"};
  // Right by acc and by acc_norm; wrong by acc only.
  a.answers = {{"x", 0, {-1, -2}, {}, {1, 1}, {}}, {"y", 1, {-1, -2}, {}, {1, 9}, {}}};
  TaskAnswers b = a;
  std::swap(b.answers[0], b.answers[1]);
  b.answers[0].log_likelihoods = {-3, -2};  // y: right now
  EXPECT_EQ(right_answers(a, "acc"), (std::vector<bool>{true, false}));
  EXPECT_EQ(right_answers(a, "acc_norm"), (std::vector<bool>{true, true}));
  const PairedDifference paired = paired_difference(a, b, "acc");
  EXPECT_EQ(paired.only_second, 1);
  EXPECT_EQ(paired.only_first, 0);
  EXPECT_EQ(paired_difference(a, b, "acc_norm").difference, 0);
}

}  // namespace
}  // namespace streamline
