// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/same_questions.h"

#include "support/core/expect.h"

namespace streamline {
namespace {

TaskAnswers set_of(const std::string& name, const std::vector<std::string>& ids) {
  TaskAnswers set{.name = name, .labels = {"A", "B"}};
  for (const std::string& id : ids) set.answers.push_back({.id = id, .log_likelihoods = {-1, -2}});
  return set;
}

TEST(SameQuestions, AreFoundByTheirIdsInAnyOrder) {
  const TaskAnswers a = set_of("s", {"x", "y", "z"});
  TaskAnswers b = set_of("s", {"z", "x", "y"});
  b.answers[0].log_likelihoods = {-9, -8};
  const TaskAnswers ordered = in_order_of(a, b);
  EXPECT_EQ(ordered.answers[0].id, "x");
  EXPECT_EQ(ordered.answers[2].id, "z");
  EXPECT_EQ(ordered.answers[2].log_likelihoods[0], -9);
}

TEST(SameQuestions, TheSameIdTwiceIsFineInTheSamePlaces) {
  const TaskAnswers a = set_of("s", {"x", "x", "y"});
  EXPECT_EQ(in_order_of(a, a).answers.size(), 3U);
  EXPECT_ERROR(in_order_of(a, set_of("s", {"x", "y", "x"})), mismatch, "1 more than once in A (x)");
}

TEST(SameQuestions, ADifferenceIsListed) {
  const TaskAnswers a = set_of("s", {"x", "1", "2", "3", "4", "5", "6"});
  EXPECT_ERROR(in_order_of(a, set_of("s", {"x", "y"}), {"left", "right"}), mismatch,
               "s: not the same questions: 6 only in left (1, 2, 3, 4, 5, …); 1 only in right (y)");
  EXPECT_ERROR(in_order_of(set_of("s", {"x"}), set_of("s", {})), mismatch, "1 only in A (x)");
}

TEST(SameQuestions, OtherGoldsChoicesLabelsAndStylesAreNamed) {
  const TaskAnswers a = set_of("s", {"x", "y"});
  TaskAnswers b = a;
  b.answers[1].gold = 1;
  EXPECT_ERROR(in_order_of(a, b), mismatch, "s: questions differ: 1 with another right answer (y)");
  b = a;
  b.answers[0].log_likelihoods.push_back(-3);
  EXPECT_ERROR(in_order_of(a, b), mismatch, "1 with another number of choices (x)");
  b = a;
  b.labels = {"B", "A"};
  EXPECT_ERROR(in_order_of(a, b), mismatch, "name the choices differently");
  b = a;
  b.style = Style::opencompass;
  EXPECT_ERROR(in_order_of(a, b), mismatch, "(lm-eval, opencompass)");
}

TEST(SameQuestions, SetsAreFoundByTheirNames) {
  const std::vector<TaskAnswers> a = {set_of("piqa", {"1"}), set_of("copa", {"2"})};
  const std::vector<TaskAnswers> b = {set_of("copa", {"2"}), set_of("piqa", {"1"})};
  EXPECT_EQ(in_order_of(a, b)[0].name, "piqa");
  EXPECT_ERROR(in_order_of(a, {b[0]}), mismatch, "not the same sets of questions: 1 only in A (piqa)");
  EXPECT_ERROR(in_order_of(a, {set_of("copa", {"3"}), b[1]}), mismatch, "copa: not the same questions");
}

}  // namespace
}  // namespace streamline
