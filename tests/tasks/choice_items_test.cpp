// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/choice_items.h"

#include <cmath>

#include "support/core/expect.h"

namespace streamline {
namespace {

TaskAnswers one_question(Style style) {
  TaskAnswers set{.name = "set", .style = style};
  set.answers = {{.id = "q", .gold = 1, .log_likelihoods = {-12, -6}, .tokens = {7, 3}}};
  return set;
}

std::vector<double> scores(const TaskAnswers& set, ChoiceScore score) { return choice_items(set, score)[0].scores; }

// Check 16: T - 1 losses over T, or over T - 1, or e to that.
TEST(ChoiceItems, OfWholeTextsDivideByTheScoresDenominator) {
  const TaskAnswers set = one_question(Style::opencompass);
  EXPECT_EQ(scores(set, ChoiceScore::opencompass_nll), (std::vector<double>{12.0 / 7, 2}));
  EXPECT_EQ(scores(set, ChoiceScore::mean_nll), (std::vector<double>{2, 3}));
  EXPECT_EQ(scores(set, ChoiceScore::perplexity), (std::vector<double>{std::exp(2.0), std::exp(3.0)}));
  EXPECT_EQ(choice_items(set, ChoiceScore::mean_nll)[0].gold, 1U);
  EXPECT_ERROR(choice_items(set, ChoiceScore::answer_nll), unsupported, "choose opencompass-nll");
}

TEST(ChoiceItems, OfAnswersDivideByAllTheirTokens) {
  const TaskAnswers set = one_question(Style::lm_eval);
  EXPECT_EQ(scores(set, ChoiceScore::answer_nll), (std::vector<double>{12, 6}));
  EXPECT_EQ(scores(set, ChoiceScore::mean_nll), (std::vector<double>{12.0 / 7, 2}));
  EXPECT_EQ(scores(set, ChoiceScore::perplexity), (std::vector<double>{std::exp(12.0 / 7), std::exp(2.0)}));
  EXPECT_ERROR(choice_items(set, ChoiceScore::opencompass_nll), unsupported, "choose answer-nll");
}

TEST(ChoiceItems, WithoutTokensOnlyWhatNeedsNoneIsThere) {
  TaskAnswers set = one_question(Style::opencompass);
  set.answers[0].tokens.clear();
  set.answers[0].log_likelihoods = {-1.5, -2};
  EXPECT_EQ(scores(set, ChoiceScore::opencompass_nll), (std::vector<double>{1.5, 2}));
  EXPECT_ERROR(choice_items(set, ChoiceScore::perplexity), mismatch, "choose opencompass-nll");
  set.style = Style::lm_eval;
  EXPECT_ERROR(choice_items(set, ChoiceScore::mean_nll), mismatch, "choose answer-nll");
  set.answers[0].tokens = {0, 1};
  EXPECT_ERROR(choice_items(set, ChoiceScore::mean_nll), mismatch, "question 'q' has no token");
}

TEST(ChoiceItems, AGreedyQuestionHasARightAndAWrongSide) {
  TaskAnswers set{.rule = Rule::greedy};
  set.answers = {{.log_likelihoods = {-5}, .greedy = {true}}, {.log_likelihoods = {-1}, .greedy = {false}}};
  const auto items = choice_items(set, ChoiceScore::answer_nll);
  EXPECT_EQ(prediction(items[0]), items[0].gold);
  EXPECT_NE(prediction(items[1]), items[1].gold);
  EXPECT_EQ(spread(items[0].scores), spread(items[1].scores));
}

TEST(ChoiceItems, EveryWordNamesItsScore) {
  for (const std::string& word : choice_score_words())
    EXPECT_EQ(title(choice_score_named(word), word == "answer-nll" ? Style::lm_eval : Style::opencompass).empty(),
              false);
  EXPECT_THAT(title(default_score(Style::opencompass), Style::opencompass), testing::HasSubstr("OpenCompass"));
  EXPECT_EQ(default_score(Style::lm_eval), ChoiceScore::answer_nll);
  EXPECT_ERROR(choice_score_named("ppl"), usage, "opencompass-nll, mean-nll, perplexity or answer-nll");
}

}  // namespace
}  // namespace streamline
