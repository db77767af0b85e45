// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/answers.h"

#include <cmath>

#include "support/core/expect.h"

namespace streamline {
namespace {

Answer answer(std::vector<double> log_likelihoods, std::size_t gold, std::vector<std::int64_t> tokens = {},
              std::vector<std::int64_t> characters = {}) {
  return {.gold = gold,
          .log_likelihoods = std::move(log_likelihoods),
          .tokens = std::move(tokens),
          .characters = std::move(characters)};
}

// `right` of `count` questions answered rightly.
TaskAnswers questions(std::size_t right, std::size_t count) {
  TaskAnswers set{.name = "set"};
  for (std::size_t i = 0; i < count; ++i) set.answers.push_back(answer({-1, -2}, i < right ? 0 : 1, {1, 1}, {4, 4}));
  return set;
}

TEST(Answers, EachRulePredictsByItsOwnNumber) {
  // Sums -6, -5, -8; a character -0.6, -1, -2; a token -2, -5, -1.
  const Answer one = answer({-6, -5, -8}, 0, {3, 1, 8}, {10, 5, 4});
  EXPECT_EQ(most_likely(one), 1U);
  EXPECT_EQ(most_likely_a_character(one), 0U);
  EXPECT_EQ(lowest_mean_nll(one), 2U);
  EXPECT_EQ(prediction(one, Style::lm_eval), 1U);
  EXPECT_EQ(prediction(one, Style::opencompass), 2U);
}

// Check 17.
TEST(Answers, TheFirstOfEqualChoicesWins) {
  const Answer one = answer({-4, -2, -2}, 0, {4, 2, 2}, {4, 2, 2});
  EXPECT_EQ(most_likely(one), 1U);
  EXPECT_EQ(most_likely_a_character(one), 0U);
  EXPECT_EQ(lowest_mean_nll(one), 0U);
}

TEST(Answers, AChoiceWithoutCharactersIsNeverTheMostLikelyACharacter) {
  EXPECT_EQ(most_likely_a_character(answer({-1, -9}, 0, {1, 1}, {0, 3})), 1U);
}

TEST(Answers, WhereTokensAreNotKnownOpenCompassNumbersAreMeansAlready) {
  EXPECT_EQ(lowest_mean_nll(answer({-2.5, -2.25}, 0)), 1U);
}

TEST(Answers, AGreedyQuestionIsRightWhenEveryTokenIsTheFirstChoice) {
  TaskAnswers set{.rule = Rule::greedy};
  set.answers = {{.log_likelihoods = {-1}, .greedy = {true}}, {.log_likelihoods = {-3}, .greedy = {false}}};
  EXPECT_TRUE(is_right(set, set.answers[0]));
  EXPECT_FALSE(is_right(set, set.answers[1]));
  EXPECT_DOUBLE_EQ(metric(set, "acc").value, 0.5);
}

TEST(Answers, AccuracyHasTheErrorOfASampleMean) {
  const Estimate acc = metric(questions(3, 4), "acc");
  EXPECT_DOUBLE_EQ(acc.value, 0.75);
  // Deviations 0.25 three times and -0.75: sqrt(0.75 / 3 / 4).
  EXPECT_DOUBLE_EQ(acc.standard_error.value(), 0.25);
  EXPECT_EQ(acc.count, 4);
  EXPECT_FALSE(metric(questions(1, 1), "acc").standard_error);
}

TEST(Answers, PerplexityHasItsErrorByTheDeltaMethod) {
  TaskAnswers set{.rule = Rule::greedy};
  set.answers = {answer({-1}, 0), answer({-3}, 0)};
  const Estimate perplexity = metric(set, "perplexity");
  EXPECT_DOUBLE_EQ(perplexity.value, std::exp(2.0));
  EXPECT_DOUBLE_EQ(perplexity.standard_error.value(), std::exp(2.0));  // deviation sqrt(2), over sqrt(2)
}

TEST(Answers, AGroupWeighsQuestionsOrSets) {
  const std::vector<TaskAnswers> sets = {questions(3, 4), questions(1, 2)};
  const Estimate weighted = group_metric(sets, "acc", true), plain = group_metric(sets, "acc", false);
  EXPECT_EQ(weighted.count, 6);
  EXPECT_DOUBLE_EQ(weighted.value, 4.0 / 6);
  EXPECT_DOUBLE_EQ(plain.value, 0.625);
  // Squared errors of the sets 1/16 and 1/4, so pooled (3·4/16 + 1·2/4) / (6 - 2) / 6.
  EXPECT_DOUBLE_EQ(weighted.standard_error.value(), std::sqrt(1.25 / 24));
  EXPECT_DOUBLE_EQ(plain.standard_error.value(), std::sqrt(0.0625 + 0.25) / 2);
}

TEST(Answers, AGroupOfOneSetIsThatSet) {
  const std::vector<TaskAnswers> one = {questions(3, 7)};
  const Estimate alone = metric(one[0], "acc");
  for (const bool weighted : {true, false}) {
    EXPECT_NEAR(group_metric(one, "acc", weighted).value, alone.value, 1e-15);
    EXPECT_NEAR(group_metric(one, "acc", weighted).standard_error.value(), alone.standard_error.value(), 1e-15);
  }
}

TEST(Answers, AGroupWithASetOfOneQuestionHasNoError) {
  for (const bool weighted : {true, false})
    for (const std::int64_t count : {1, 4}) {
      const Estimate group =
          group_metric(std::vector<TaskAnswers>{questions(1, 1), questions(1, count)}, "acc", weighted);
      EXPECT_FALSE(group.standard_error);
      EXPECT_EQ(group.count, 1 + count);
    }
}

TEST(Answers, AMeanOverBenchmarksIsThatOfThoseThatHaveTheFigure) {
  TaskAnswers both = questions(3, 4), first = questions(1, 2), second = questions(1, 4), greedy = questions(1, 1);
  both.metrics = {"acc", "acc_norm"};
  first.metrics = second.metrics = {"acc"};  // two sets of one benchmark: 2 of 6 questions
  greedy.metrics = {"perplexity"};
  const std::vector<std::vector<TaskAnswers>> benchmarks = {{both}, {first, second}, {greedy}};
  const auto means = benchmark_means(benchmarks);
  EXPECT_EQ(means.size(), 2U);
  EXPECT_DOUBLE_EQ(means.at("acc").value, (3.0 / 4 + 2.0 / 6) / 2);
  EXPECT_DOUBLE_EQ(means.at("acc_norm").value, metric(both, "acc_norm").value);
  EXPECT_TRUE(benchmark_means({}).empty());
}

TEST(Answers, UnknownMetricsAndNoAnswersAreBugs) {
  EXPECT_ERROR(metric(questions(1, 2), "f1"), internal, "acc");
  EXPECT_ERROR(metric(TaskAnswers{}, "acc"), internal, "empty");
}

}  // namespace
}  // namespace streamline
