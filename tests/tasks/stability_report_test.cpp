// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/stability_report.h"

#include <cmath>

#include "support/core/expect.h"

namespace streamline {
namespace {

// Two choices a question with these mean NLLs, the first of which is right.
TaskAnswers set_of(const std::string& name, const std::string& group, const std::vector<std::vector<double>>& nlls) {
  TaskAnswers set{.name = name, .group = group, .style = Style::opencompass};
  for (std::size_t i = 0; i < nlls.size(); ++i) {
    set.answers.push_back({.id = std::to_string(i)});
    for (const double nll : nlls[i]) set.answers.back().log_likelihoods.push_back(-nll);
  }
  return set;
}

// Two subjects of one benchmark, and another benchmark: the example of check 14, with agreement 1/2.
std::vector<TaskAnswers> original() {
  return {set_of("mmlu_a", "mmlu", {{1, 2}, {1, 2}}), set_of("mmlu_b", "mmlu", {{1, 2}}),
          set_of("piqa", "piqa", {{1, 3}, {2, 2}, {1, 2}, {4, 1}})};
}
std::vector<TaskAnswers> shorter() {
  return {set_of("mmlu_a", "mmlu", {{1, 2}, {2, 1}}), set_of("mmlu_b", "mmlu", {{1, 2}}),
          set_of("piqa", "piqa", {{1, 3}, {2, 1}, {0, 2}, {1, 4}})};
}

constexpr double kPiqa = 0.443409;  // check 14

TEST(StabilityReport, TakesMeansOfSetsAndThenOfBenchmarks) {
  const StabilityReport report = stability_report(original(), shorter(), {.as_published = true});
  EXPECT_EQ(report.score, "mean NLL of the whole text, OpenCompass's denominator");
  ASSERT_EQ(report.sets.size(), 3U);
  ASSERT_EQ(report.groups.size(), 2U);
  EXPECT_DOUBLE_EQ(report.sets[0].figures.stability, 0.5);
  EXPECT_NEAR(report.sets[2].figures.stability, kPiqa, 1e-6);
  EXPECT_DOUBLE_EQ(report.groups[0].figures.stability, 0.75);
  EXPECT_EQ(report.groups[0].name, "mmlu");
  EXPECT_EQ(report.groups[0].sets, 2);
  EXPECT_EQ(report.groups[0].questions, 3);
  EXPECT_NEAR(report.average.figures.stability, (0.75 + kPiqa) / 2, 1e-6);
  EXPECT_NEAR(*report.average.as_published, (0.75 + 0.377541) / 2, 1e-6);
  EXPECT_EQ(report.average.questions, 7);
}

TEST(StabilityReport, SaysOnHowManyQuestionsTheWeightsRest) {
  const StabilityReport even = stability_report(original(), shorter(), {});
  EXPECT_DOUBLE_EQ(even.sets[0].effective_questions, 2);  // equal spreads
  EXPECT_NEAR(even.groups[0].effective_questions, 4 / (1 / 2.0 + 1), 1e-12);
  // Spreads 1, 0, 0.5, 1.5.
  const double sum = std::exp(1) + 1 + std::exp(0.5) + std::exp(1.5),
               squares = std::exp(2) + 1 + std::exp(1) + std::exp(3);
  EXPECT_NEAR(even.sets[2].effective_questions, sum * sum / squares, 1e-12);
  EXPECT_TRUE(heavy_weights(even).empty());
  const std::vector<TaskAnswers> heavy = {set_of("a", "a", {{0, 40}, {1, 2}, {1, 2}, {1, 2}, {1, 2}})};
  const StabilityReport one = stability_report(heavy, heavy, {});
  EXPECT_THAT(heavy_weights(one), testing::ElementsAre(testing::HasSubstr("a: the weights of stability amount to those "
                                                                          "of about 1 of 5 questions")));
}

TEST(StabilityReport, ASetOfASplitTaskStandsAloneUnderItsOwnName) {
  const std::vector<TaskAnswers> alone = {original()[1], original()[2]};
  const StabilityReport report = stability_report(alone, alone, {});
  EXPECT_EQ(report.groups[0].name, "mmlu_b");
}

TEST(StabilityReport, CountsWhatChangedSides) {
  const StabilityReport report = stability_report(original(), shorter(), {});
  const StabilityRow& piqa = report.groups[1];
  EXPECT_EQ(piqa.both_right, 2);
  EXPECT_EQ(piqa.both_wrong, 0);
  EXPECT_EQ(piqa.right_to_wrong, 1);  // the tie of question 1 was won by the first choice
  EXPECT_EQ(piqa.wrong_to_right, 1);
  EXPECT_DOUBLE_EQ(piqa.figures.agreement, 0.5);
  EXPECT_DOUBLE_EQ(piqa.figures.accuracy_original, 0.75);
  EXPECT_DOUBLE_EQ(piqa.figures.accuracy_shorter, 0.75);
  EXPECT_EQ(report.average.right_to_wrong, 2);
  EXPECT_FALSE(piqa.as_published);
}

TEST(StabilityReport, RelativePerformanceIsTheRatioOfTheBenchmarksMeans) {
  const StabilityReport report = stability_report(original(), shorter(), {});
  // mmlu 1 and 0.75, piqa 0.75 and 0.75.
  EXPECT_DOUBLE_EQ(report.average.figures.relative_performance(), 1.5 / 1.75);
}

TEST(StabilityReport, AModelIsStableAgainstItself) {
  const StabilityReport report = stability_report(original(), original(), {.bootstrap = 50});
  EXPECT_DOUBLE_EQ(report.average.figures.stability, 1);
  EXPECT_NEAR(report.average.stability->low, 1, 1e-12);
  EXPECT_NEAR(report.average.stability->high, 1, 1e-12);
}

// With equal spreads stability is the mean of independent questions, whose error is known: 400 questions, 320 agree.
TEST(StabilityReport, IntervalsAreThoseOfAMeanWhereStabilityIsOne) {
  std::vector<std::vector<double>> a(400, {1, 2}), b = a;
  for (std::size_t i = 0; i < 80; ++i) b[5 * i] = {2, 1};
  const std::vector<TaskAnswers> first = {set_of("s", "s", a)}, second = {set_of("s", "s", b)};
  const StabilityReport report = stability_report(first, second, {.bootstrap = 4000, .seed = 7});
  const double half = 1.96 * std::sqrt(0.8 * 0.2 / 400);
  constexpr double kNoise = 0.004;  // of a quantile of 4000 resamples, and of steps of 1/400
  EXPECT_NEAR(report.sets[0].stability->low, 0.8 - half, kNoise);
  EXPECT_NEAR(report.sets[0].stability->high, 0.8 + half, kNoise);
  EXPECT_NEAR(report.sets[0].agreement->low, report.sets[0].stability->low, 1e-12);
  EXPECT_NEAR(report.sets[0].relative_performance->high, 0.8 + half, kNoise);

  const auto low = [&](std::uint64_t seed) {
    return to_json(stability_report(first, second, {.bootstrap = 100, .seed = seed})).dump();
  };
  EXPECT_EQ(low(1), low(1));
  EXPECT_NE(low(1), low(2));
}

TEST(StabilityReport, JsonHoldsWhatIsKnownAndNullWhatIsNot) {
  const std::vector<TaskAnswers> wrong = {set_of("s", "s", {{2, 1}})};
  const Json json = to_json(stability_report(wrong, wrong, {.bootstrap = 0}));
  EXPECT_EQ(json["sets"][0]["stability"], 1.0);
  EXPECT_EQ(json["sets"][0]["accuracy_a"], 0.0);
  EXPECT_TRUE(json["sets"][0]["relative_performance"].is_null());
  EXPECT_TRUE(json["average"]["stability_interval"].is_null());
  EXPECT_FALSE(json["average"].contains("stability_as_published"));
}

TEST(StabilityReport, RefusesWhatHasNoMeaning) {
  EXPECT_ERROR(stability_report({}, {}, {}), mismatch, "0 sets");
  EXPECT_ERROR(stability_report({set_of("s", "s", {})}, {set_of("s", "s", {})}, {}), mismatch, "s: no questions");
  std::vector<TaskAnswers> mixed = original();
  mixed[1].style = Style::lm_eval;
  EXPECT_ERROR(stability_report(mixed, mixed, {}), mismatch, "mmlu_b: lm-eval among sets of opencompass");
  const std::vector<TaskAnswers> wide = {set_of("s", "s", {{0, 2000}, {0, 1998}})};
  EXPECT_NO_THROW(stability_report(wide, wide, {.bootstrap = 0}));
  const std::vector<TaskAnswers> wider = {set_of("s", "s", {{-1e308, 1e308}, {0, 1}})};
  EXPECT_ERROR(stability_report(wider, wider, {}), numeric, "s: scores of choices are too far apart");
  EXPECT_ERROR(stability_report(wide, wide, {.as_published = true}), numeric, "s: the published arithmetic overflows");
}

}  // namespace
}  // namespace streamline
