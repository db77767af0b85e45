// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/answers.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "streamline/base/error.h"

namespace streamline {
namespace {

std::size_t highest(std::span<const double> values) {
  SL_ASSERT(!values.empty());
  return static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

std::vector<double> per(std::span<const double> sums, std::span<const std::int64_t> counts) {
  SL_ASSERT(sums.size() == counts.size());
  std::vector<double> values;
  values.reserve(sums.size());
  // Nothing said is never the answer, as in lm-evaluation-harness, where the quotient is minus infinity.
  for (std::size_t i = 0; i < sums.size(); ++i)
    values.push_back(counts[i] > 0 ? sums[i] / static_cast<double>(counts[i])
                                   : -std::numeric_limits<double>::infinity());
  return values;
}

// right / count to the last bit, so that a bound of 0.7 holds for 28 of 40; the error is the sample's deviation /
// sqrt(n).
Estimate share(std::int64_t right, std::int64_t count) {
  const double n = static_cast<double>(count), value = static_cast<double>(right) / n;
  Estimate estimate{.value = value, .count = count};
  if (count > 1) estimate.standard_error = std::sqrt(value * (1 - value) / (n - 1));
  return estimate;
}

bool right_a_character(const Answer& answer) { return most_likely_a_character(answer) == answer.gold; }

Estimate perplexity(const TaskAnswers& set) {
  MeanAccumulator nll;
  for (const Answer& answer : set.answers) nll.add(-answer.log_likelihoods.at(answer.gold));
  Estimate estimate = nll.estimate();
  estimate.value = std::exp(estimate.value);
  if (estimate.standard_error) *estimate.standard_error *= estimate.value;
  return estimate;
}

// lm-evaluation-harness's error of a group: the variance inside the sets, pooled, over all questions. Every set has
// an error.
double pooled_error(std::span<const Estimate> sets) {
  double squares = 0, questions = 0;
  for (const Estimate& set : sets) {
    const auto count = static_cast<double>(set.count);
    squares += (count - 1) * count * *set.standard_error * *set.standard_error;
    questions += count;
  }
  return std::sqrt(squares / (questions - static_cast<double>(sets.size())) / questions);
}

}  // namespace

std::vector<std::vector<TaskAnswers>> by_group(std::span<const TaskAnswers> sets) {
  std::vector<std::vector<TaskAnswers>> groups;
  for (const TaskAnswers& set : sets) {
    const auto same = [&](const auto& group) { return group.front().group == set.group; };
    const auto found = std::ranges::find_if(groups, same);
    if (found == groups.end())
      groups.push_back({set});
    else
      found->push_back(set);
  }
  return groups;
}

std::string benchmark_name(std::span<const TaskAnswers> sets) {
  SL_ASSERT(!sets.empty());
  return sets.size() == 1 || sets.front().group.empty() ? sets.front().name : sets.front().group;
}

std::size_t most_likely(const Answer& answer) { return highest(answer.log_likelihoods); }

std::size_t most_likely_a_character(const Answer& answer) {
  return highest(per(answer.log_likelihoods, answer.characters));
}

std::size_t lowest_mean_nll(const Answer& answer) {
  return answer.tokens.empty() ? most_likely(answer) : highest(per(answer.log_likelihoods, answer.tokens));
}

std::size_t prediction(const Answer& answer, Style style) {
  return style == Style::lm_eval ? most_likely(answer) : lowest_mean_nll(answer);
}

bool is_right(const TaskAnswers& set, const Answer& answer) {
  if (set.rule == Rule::greedy) return answer.greedy.at(answer.gold);
  return prediction(answer, set.style) == answer.gold;
}

Estimate metric(const TaskAnswers& set, std::string_view name) {
  SL_ASSERT(!set.answers.empty());
  if (name == "perplexity") return perplexity(set);
  SL_ASSERT(name == "acc" || name == "acc_norm");
  const auto right = std::ranges::count_if(set.answers, [&](const Answer& answer) {
    return name == "acc" ? is_right(set, answer) : right_a_character(answer);
  });
  return share(right, std::ssize(set.answers));
}

Estimate group_metric(std::span<const TaskAnswers> sets, std::string_view name, bool weighted) {
  SL_ASSERT(!sets.empty());
  std::vector<Estimate> estimates;
  for (const TaskAnswers& set : sets) estimates.push_back(metric(set, name));
  Estimate group = mean_of(estimates);
  if (!weighted) return group;
  double sum = 0;
  for (const Estimate& set : estimates) {
    const double of_set = set.value * static_cast<double>(set.count);
    sum += name == "perplexity" ? of_set : std::round(of_set);  // answers that are right are whole
  }
  group.value = sum / static_cast<double>(group.count);
  if (group.standard_error) group.standard_error = pooled_error(estimates);
  return group;
}

Estimate benchmark_metric(std::span<const TaskAnswers> sets, std::string_view name) {
  SL_ASSERT(!sets.empty());
  return group_metric(sets, name, sets.front().style == Style::lm_eval);
}

bool has_mean(std::string_view metric) { return metric != "perplexity"; }

std::map<std::string, Estimate> benchmark_means(std::span<const std::vector<TaskAnswers>> benchmarks) {
  std::map<std::string, std::vector<Estimate>> estimates;
  for (const std::vector<TaskAnswers>& sets : benchmarks)
    for (const std::string& name : sets.front().metrics)
      if (has_mean(name)) estimates[name].push_back(benchmark_metric(sets, name));
  std::map<std::string, Estimate> means;
  for (const auto& [name, of_benchmarks] : estimates) means[name] = mean_of(of_benchmarks);
  return means;
}

}  // namespace streamline
