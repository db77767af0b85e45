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
  EXPECT_DOUBLE_EQ(paired.standard_error, std::sqrt(2.8 / 4 / 5));
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
