// SPDX-License-Identifier: Apache-2.0
// Everything that is said of two models' answers to the same sets: stability, accuracy, changes, and how sure each is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "streamline/base/json.h"
#include "streamline/tasks/answers.h"
#include "streamline/tasks/paired.h"
#include "streamline/tasks/stability.h"

namespace streamline {

// Shares, 0 to 1. A set's are over its questions; a benchmark's are the mean of its sets, each counting the same; the
// average is the mean of the benchmarks, each counting the same, as the paper takes them.
struct StabilityFigures {
  double stability = 0;
  double agreement = 0;  // questions that both answer rightly or both wrongly, each counting the same
  double accuracy_original = 0, accuracy_shorter = 0;  // by the score
  double relative_performance() const { return accuracy_shorter / accuracy_original; }
};

struct StabilityRow {
  std::string name = {};
  std::int64_t sets = 1, questions = 0;
  StabilityFigures figures = {};
  // Summed over the questions.
  std::int64_t both_right = 0, both_wrong = 0, right_to_wrong = 0, wrong_to_right = 0;
  // Of the accuracies over all questions of the row: mcnemar(), and the difference's interval that belongs to it.
  double p_value = 1;
  Interval difference = {};
  // How many equally weighted questions would make stability as uncertain: (sum of weights)^2 / sum of their squares.
  double effective_questions = 0;
  std::optional<double> as_published = {};
  // 95 % of the resamples; absent without any.
  std::optional<Interval> stability = {}, agreement = {}, relative_performance = {};
};

struct StabilityReport {
  std::string score;  // its title
  std::vector<StabilityRow> sets = {},
                            groups = {};  // a group is a benchmark: the sets of one task, in order of appearance
  StabilityRow average = {};
};

struct StabilityOptions {
  ChoiceScore score = ChoiceScore::opencompass_nll;
  bool as_published = false;
  // Resamples of the questions, drawn with replacement inside every set; 0: no intervals.
  std::int64_t bootstrap = 1000;
  std::uint64_t seed = 0;
};

// The two lists hold the same sets in the same order, with the same questions in the same order (in_order_of). Errors:
// as choice_items; mismatch for no sets or one without questions, or of another style than the others; numeric when
// scores are so far apart that their spread, or the published arithmetic, overflows.
StabilityReport stability_report(const std::vector<TaskAnswers>& original, const std::vector<TaskAnswers>& shorter,
                                 const StabilityOptions& options);

// A sentence a benchmark whose stability rests on the weight of less than a quarter of its questions.
std::vector<std::string> heavy_weights(const StabilityReport& report);

// Shares as shares; what is undefined (relative performance to nothing right) is null.
Json to_json(const StabilityReport& report);

}  // namespace streamline
