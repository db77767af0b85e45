// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/stability.h"

#include <cmath>
#include <numeric>

#include "support/core/expect.h"

namespace streamline {
namespace {

using Items = std::vector<ChoiceItem>;

// Four questions of two choices, the first of which is right; spreads 1, 0, 0.5, 1.5.
Items four_questions() { return {{{1, 3}, 0}, {{2, 2}, 0}, {{1, 2}, 0}, {{4, 1}, 0}}; }

// Changes sides in questions 1 and 3.
Items changed() { return {{{1, 3}, 0}, {{2, 1}, 0}, {{0, 2}, 0}, {{1, 4}, 0}}; }

// Checks 13 and 14.
TEST(Stability, WeighsQuestionsBySpread) {
  const auto weights = stability_weights(four_questions());
  const std::vector<double> expected = {0.276004, 0.101536, 0.167405, 0.455054};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(weights[i], expected[i], 1e-6);
  EXPECT_NEAR(std::accumulate(weights.begin(), weights.end(), 0.0), 1, 1e-12);
}

// Checks 13 and 14.
TEST(Stability, AddsTheWeightsOfQuestionsThatStayedOnTheirSide) {
  EXPECT_NEAR(stability(four_questions(), changed()), 0.443409, 1e-6);
  EXPECT_DOUBLE_EQ(stability(four_questions(), four_questions()), 1);
}

// Check 14.
TEST(Stability, DoesNotDependOnTheOrderOfQuestions) {
  Items a = four_questions(), b = changed();
  std::swap(a[0], a[3]), std::swap(b[0], b[3]);
  EXPECT_NEAR(stability(a, b), 0.443409, 1e-6);
}

// Check 14: two questions agree, so the released script adds the first two weights, though the first and third agree.
TEST(Stability, AsPublishedAddsTheWeightsOfTheFirstQuestions) {
  EXPECT_NEAR(stability_as_published(four_questions(), changed()), 0.377541, 1e-6);
  Items a = four_questions(), b = changed();
  std::swap(a[0], a[3]), std::swap(b[0], b[3]);
  EXPECT_NEAR(stability_as_published(a, b), 0.455054 + 0.101536, 2e-6);
  EXPECT_NEAR(stability_as_published(a, a), 1, 1e-12);
}

TEST(Stability, AsPublishedOverflows) {
  const Items wide = {{{0, 2000}, 0}, {{0, 1998}, 0}};
  EXPECT_TRUE(std::isnan(stability_as_published(wide, wide)));
}

// Check 13.
TEST(Stability, IsZeroWhenEveryQuestionChangedSides) {
  Items flipped = four_questions();
  for (ChoiceItem& item : flipped)
    item.scores = prediction(item) == 0 ? std::vector<double>{2, 1} : std::vector<double>{1, 2};
  EXPECT_DOUBLE_EQ(stability(four_questions(), flipped), 0);
}

// Check 13.
TEST(Stability, OfEqualSpreadsIsPlainAgreement) {
  const Items a = {{{1, 2}, 0}, {{1, 2}, 0}, {{2, 1}, 0}, {{1, 2}, 0}};
  const Items b = {{{1, 2}, 0}, {{2, 1}, 0}, {{2, 1}, 0}, {{1, 2}, 0}};
  EXPECT_DOUBLE_EQ(stability(a, b), 0.75);
}

// Check 13.
TEST(Stability, IgnoresAnotherWrongAnswerAndAConstantInEveryScore) {
  const Items a = {{{3, 1, 2}, 0}, {{1, 5, 9}, 0}};
  Items b = {{{3, 2, 1}, 0}, {{2, 1, 9}, 0}};
  const double before = stability(a, b);
  Items shifted = a;
  for (ChoiceItem& item : shifted)
    for (double& score : item.scores) score += 7;
  EXPECT_NEAR(stability(shifted, b), before, 1e-12);
  b[0].scores = {3, 1, 2};
  EXPECT_DOUBLE_EQ(stability(a, b), before);
}

// Check 15.
TEST(Stability, DoesNotOverflow) {
  const auto weights = stability_weights(Items{{{0, 2000}, 0}, {{0, 1998}, 0}});
  EXPECT_NEAR(weights[0], 0.731059, 1e-6);
  EXPECT_NEAR(weights[1], 0.268941, 1e-6);
}

TEST(Stability, RefusesAnswersToOtherQuestions) {
  Items b = four_questions();
  b[2].gold = 1;
  EXPECT_ERROR(stability(four_questions(), b), mismatch, "question 2");
  b.pop_back();
  EXPECT_ERROR(stability(four_questions(), b), mismatch, "4 answers of one model, 3 of the other");
}

// Check 16.
TEST(ChoiceScore, DependsOnItsDefinition) {
  EXPECT_NEAR(spread(std::vector<double>{2, 1}), 0.5, 1e-12);
  EXPECT_NEAR(spread(std::vector<double>{std::exp(2.0), std::exp(1.0)}), 2.335387, 1e-6);
  EXPECT_DOUBLE_EQ(choice_score(ChoiceScore::mean_nll, 12, 7), 2);
  EXPECT_DOUBLE_EQ(choice_score(ChoiceScore::perplexity, 12, 7), std::exp(2.0));
  EXPECT_NEAR(choice_score(ChoiceScore::opencompass_nll, 12, 7) / choice_score(ChoiceScore::mean_nll, 12, 7), 6.0 / 7,
              1e-12);
}

// Check 17.
TEST(ChoiceScore, PredictsTheFirstOfEqualChoices) { EXPECT_EQ(prediction({{3, 1, 1}, 0}), 1U); }

// Check 29. Tables of the paper and of its README: accuracy by benchmark, and what they print as mean and relative
// performance.
TEST(RelativePerformance, IsTheRatioOfMeansThatWasPublished) {
  const auto mean = [](const std::vector<double>& row) {
    return std::accumulate(row.begin(), row.end(), 0.0) / static_cast<double>(row.size());
  };
  const std::vector<double> llama3{50.4, 80.3, 81.2, 60.2, 34.8, 67.9, 73.0},
      llama3_cut{42.1, 72.2, 78.0, 54.3, 27.2, 62.8, 71.0};
  const std::vector<double> llama2{43.3, 76.4, 77.7, 57.2, 31.4, 62.8, 69.1},
      llama2_cut{34.0, 64.6, 74.7, 49.8, 27.4, 61.7, 66.4};
  EXPECT_NEAR(mean(llama3), 63.97, 0.005);
  EXPECT_NEAR(mean(llama3_cut), 58.23, 0.005);
  EXPECT_NEAR(mean(llama2), 59.70, 0.005);
  EXPECT_NEAR(mean(llama2_cut), 54.09, 0.005);

  const std::vector<double> dense{43.8, 33.0, 41.6, 70.8, 37.5, 66.7, 71.3, 78.1, 33.1, 35.5, 46.8, 31.8};
  const std::vector<double> pruner{29.7, 33.4, 28.4, 58.7, 40.4, 48.5, 54.6, 72.0, 22.9, 22.0, 25.3, 25.0};
  const std::vector<double> slice_gpt{31.5, 31.6, 18.5, 59.9, 43.3, 49.6, 47.5, 68.3, 27.0, 29.4, 28.8, 24.8};
  const std::vector<double> laco{39.7, 34.4, 36.1, 64.1, 40.4, 45.7, 55.7, 69.8, 23.6, 22.6, 26.5, 25.2};
  const std::vector<double> none{40.2, 34.4, 21.5, 67.3, 40.4, 41.7, 59.7, 69.0, 35.2, 34.7, 44.6, 28.9};
  const std::vector<double> ffn{40.7, 33.0, 22.8, 65.9, 38.5, 60.6, 61.2, 71.2, 38.0, 38.7, 47.0, 31.7};
  const std::vector<double> layer{43.3, 33.0, 24.1, 67.5, 36.5, 59.2, 61.1, 71.5, 34.8, 37.0, 45.5, 29.4};
  EXPECT_NEAR(relative_performance(dense, pruner), 78.1, 0.05);
  EXPECT_NEAR(relative_performance(dense, slice_gpt), 78.0, 0.05);
  EXPECT_NEAR(relative_performance(dense, laco), 82.0, 0.05);
  EXPECT_NEAR(relative_performance(dense, none), 87.7, 0.05);
  EXPECT_NEAR(relative_performance(dense, ffn), 93.1, 0.05);
  EXPECT_NEAR(relative_performance(dense, layer), 92.0, 0.05);
}

}  // namespace
}  // namespace streamline
