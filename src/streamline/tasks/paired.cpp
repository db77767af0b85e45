// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/paired.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "streamline/base/error.h"
#include "streamline/base/stats.h"
#include "streamline/tasks/same_questions.h"

namespace streamline {

double mcnemar(std::int64_t only_first, std::int64_t only_second) {
  SL_ASSERT(only_first >= 0 && only_second >= 0);
  const auto changed = static_cast<double>(only_first + only_second);
  const std::int64_t smaller = std::min(only_first, only_second);
  // Binomial coefficients as logarithms: with some thousand changes 2^-n is below any double.
  double tail = 0;
  for (std::int64_t k = 0; k <= smaller; ++k) {
    const auto successes = static_cast<double>(k);
    tail += std::exp(std::lgamma(changed + 1) - std::lgamma(successes + 1) - std::lgamma(changed - successes + 1) -
                     changed * std::numbers::ln2);
  }
  return std::min(1.0, 2 * tail);
}

PairedDifference paired_difference(const std::vector<bool>& first, const std::vector<bool>& second) {
  SL_ASSERT(first.size() == second.size());
  PairedDifference result;
  MeanAccumulator difference;
  for (std::size_t i = 0; i < first.size(); ++i) {
    (first[i]    ? second[i] ? result.both_right : result.only_first
     : second[i] ? result.only_second
                 : result.both_wrong) += 1;
    difference.add((second[i] ? 1 : 0) - (first[i] ? 1 : 0));
  }
  const Estimate estimate = difference.estimate();
  result.difference = estimate.value;
  result.standard_error = estimate.standard_error;
  result.p_value = mcnemar(result.only_first, result.only_second);
  return result;
}

std::vector<bool> right_answers(const TaskAnswers& set, std::string_view metric) {
  SL_ASSERT(metric == "acc" || metric == "acc_norm");
  std::vector<bool> right;
  right.reserve(set.answers.size());
  for (const Answer& answer : set.answers)
    right.push_back(metric == "acc" ? is_right(set, answer) : most_likely_a_character(answer) == answer.gold);
  return right;
}

PairedDifference paired_difference(const TaskAnswers& first, const TaskAnswers& second, std::string_view metric) {
  return paired_difference(right_answers(first, metric), right_answers(in_order_of(first, second), metric));
}

}  // namespace streamline
