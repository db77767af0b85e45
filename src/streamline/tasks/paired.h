// SPDX-License-Identifier: Apache-2.0
// Whether two models differ on the same questions by more than chance. Questions are the pairs, so that what makes a
// question hard for both does not count as noise.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "streamline/tasks/answers.h"

namespace streamline {

struct PairedDifference {
  std::int64_t both_right = 0, only_first = 0, only_second = 0, both_wrong = 0;
  double difference = 0;  // share right: the second's minus the first's
  // Of that: the sample's deviation of the questions' differences / sqrt(n); of one question there is none.
  std::optional<double> standard_error = {};
  double p_value = 1;  // exact McNemar, two-sided
  std::int64_t questions() const { return both_right + only_first + only_second + both_wrong; }
};

// Probability that of only_first + only_second questions whose answer changed sides, each with chance 1/2, at most the
// smaller or at least the larger number did so in one direction (McNemar 1947, exact binomial form); 1 for none.
double mcnemar(std::int64_t only_first, std::int64_t only_second);

struct Interval {
  double low = 0, high = 0;
};
// 95 % of the difference in the share right, the second's minus the first's, that says the same as mcnemar(): 0 lies
// outside exactly where that is below 0.05. Of the questions that changed sides, as many as were found, the share that
// the second won has the exact binomial interval (Clopper and Pearson 1934). Where none changed: 1 - 0.05^(1/questions)
// either way, as more changes would have shown one with 95 %. `questions` > 0.
Interval difference_interval(std::int64_t only_first, std::int64_t only_second, std::int64_t questions);

// One truth value a question, in the same order. Errors: internal when their numbers differ.
PairedDifference paired_difference(const std::vector<bool>& first, const std::vector<bool>& second);

// Which questions the set's model answered rightly, as `metric` counts: "acc" or "acc_norm". Errors: internal.
std::vector<bool> right_answers(const TaskAnswers& set, std::string_view metric);

// Over the answers to the same questions, paired by id. Errors: mismatch as in_order_of.
PairedDifference paired_difference(const TaskAnswers& first, const TaskAnswers& second, std::string_view metric);

}  // namespace streamline
