// SPDX-License-Identifier: Apache-2.0
#include "alike.h"

#include <cmath>

#include "streamline/tasks/paired.h"

namespace streamline::cli {
namespace {

std::vector<bool> all_right(const Evaluation& evaluation) {
  std::vector<bool> right;
  for (const TaskAnswers& set : evaluation.answers)
    for (const Answer& answer : set.answers) right.push_back(is_right(set, answer));
  return right;
}

bool same_perplexity(const PerplexityResult& a, const PerplexityResult& b) {
  if (a.window_tokens != b.window_tokens) return false;
  const Estimate ratio = log_perplexity_ratio(a, b);
  return ratio.count >= kFewestPairs && ratio.standard_error && std::abs(ratio.value) <= 1.96 * *ratio.standard_error;
}

}  // namespace

void add_alike(const std::vector<Evaluation>& evaluations, Json& models) {
  std::vector<std::vector<bool>> right;
  for (const Evaluation& evaluation : evaluations) right.push_back(all_right(evaluation));
  const auto alike = [&](std::size_t a, std::size_t b) {
    if (!evaluations[a].perplexities.empty())
      return same_perplexity(evaluations[a].perplexities.front(), evaluations[b].perplexities.front());
    return !right[a].empty() && paired_difference(right[a], right[b]).p_value >= 0.05;
  };
  for (std::size_t a = 0; a < evaluations.size(); ++a) {
    models[a]["alike"] = Json::array();
    for (std::size_t b = 0; b < evaluations.size(); ++b)
      if (a != b && alike(a, b)) models[a]["alike"].push_back(models[b]["name"]);
  }
}

}  // namespace streamline::cli
