// SPDX-License-Identifier: Apache-2.0
#include "streamline/eval/sweep_score.h"

#include <algorithm>
#include <cmath>

namespace streamline {
namespace {

// factor * (P(held) / P(first) - P(held) / P(second)) on one text. P = exp(mean nll), so that a ratio's slope along a
// model's mean nll is the ratio itself, with the sign of the model's place in it.
Estimate ratio_difference(const PerplexityResult& held, const PerplexityResult& first, const PerplexityResult& second,
                          double factor) {
  const double one = factor * held.value / first.value, other = factor * held.value / second.value;
  std::vector<double> slopes;  // summed over a window's tokens
  for (std::size_t k = 0; k < held.window_nll.size(); ++k)
    slopes.push_back((one - other) * held.window_nll[k] - one * first.window_nll[k] + other * second.window_nll[k]);
  return {.value = one - other, .standard_error = per_token(slopes, held.window_tokens).standard_error};
}

}  // namespace

std::int64_t SweepFigures::windows() const {
  std::int64_t fewest = control ? control->windows : targets.front().windows;
  for (const PerplexityResult& target : targets) fewest = std::min(fewest, target.windows);
  return fewest;
}

double SweepScore::of(const SweepFigures& figures) const {
  double kept = 0;
  for (std::size_t i = 0; i < figures.targets.size(); ++i) kept += tuned[i].value / figures.targets[i].value;
  kept /= static_cast<double>(figures.targets.size());
  return base ? weight * kept + base->value / figures.control->value : kept;
}

Estimate SweepScore::difference(const SweepFigures& first, const SweepFigures& second) const {
  std::vector<Estimate> parts;
  const double factor = (base ? weight : 1) / static_cast<double>(tuned.size());
  for (std::size_t i = 0; i < tuned.size(); ++i)
    parts.push_back(ratio_difference(tuned[i], first.targets[i], second.targets[i], factor));
  if (base) parts.push_back(ratio_difference(*base, *first.control, *second.control, 1));
  const auto number = static_cast<double>(parts.size());
  Estimate sum = mean_of(parts);
  sum.value *= number;
  if (sum.standard_error) *sum.standard_error *= number;
  return sum;
}

}  // namespace streamline
