// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/paired.h"

#include <algorithm>
#include <cmath>

#include "streamline/base/error.h"
#include "streamline/base/stats.h"
#include "streamline/tasks/same_questions.h"

namespace streamline {
namespace {

constexpr double kTail = 0.025;  // on either side of an interval of 95 %

// Probability of at most `most` successes in `trials`, each with chance `chance` between 0 and 1, ends excluded.
// Binomial coefficients as logarithms: with some thousand trials 2^-n is below any double.
double binomial_tail(std::int64_t most, std::int64_t trials, double chance) {
  const double all = static_cast<double>(trials), won = std::log(chance), lost = std::log1p(-chance);
  double tail = 0;
  for (std::int64_t k = 0; k <= most; ++k) {
    const auto successes = static_cast<double>(k);
    tail += std::exp(std::lgamma(all + 1) - std::lgamma(successes + 1) - std::lgamma(all - successes + 1) +
                     successes * won + (all - successes) * lost);
  }
  return tail;
}

// The largest chance under which so few successes are not rarer than 2.5 %.
double highest_chance(std::int64_t successes, std::int64_t trials) {
  if (successes == trials) return 1;
  double low = 0, high = 1;
  for (int step = 0; step < 50; ++step) {
    const double middle = (low + high) / 2;
    (binomial_tail(successes, trials, middle) >= kTail ? low : high) = middle;
  }
  return low;
}

}  // namespace

double mcnemar(std::int64_t only_first, std::int64_t only_second) {
  SL_ASSERT(only_first >= 0 && only_second >= 0);
  return std::min(1.0, 2 * binomial_tail(std::min(only_first, only_second), only_first + only_second, 0.5));
}

Interval difference_interval(std::int64_t only_first, std::int64_t only_second, std::int64_t questions) {
  SL_ASSERT(only_first >= 0 && only_second >= 0 && questions > 0);
  const std::int64_t changed = only_first + only_second;
  if (changed == 0) {
    const double most = 1 - std::pow(2 * kTail, 1 / static_cast<double>(questions));
    return {-most, most};
  }
  const double share = static_cast<double>(changed) / static_cast<double>(questions);
  return {share * (1 - 2 * highest_chance(only_first, changed)),
          share * (2 * highest_chance(only_second, changed) - 1)};
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
