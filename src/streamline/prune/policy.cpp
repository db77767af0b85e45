// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/policy.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr double kScoreFloor = 1e-7;       // as released, beside s and 1 - s
constexpr double kBudgetTolerance = 1e-9;  // share of the budget by which a projection may stay below it

// The sum of the masks' score terms, each times its weight.
std::vector<double> weighted_scores(const Probabilities& s, const std::vector<UnitMask>& masks,
                                    std::span<const double> weights, ScoreForm form) {
  std::vector<double> sum(s.size());
  for (std::size_t k = 0; k < masks.size(); ++k)
    for (std::size_t unit = 0; unit < s.size(); ++unit)
      sum[unit] += weights[k] * score_term(masks[k][unit], s[unit], form);
  return sum;
}

double lowered_sum(const Probabilities& s, double by) {
  double sum = 0;
  for (const double value : s) sum += std::clamp(value - by, 0.0, 1.0);
  return sum;
}

}  // namespace

Probabilities sigmoid_map(std::span<const double> scores, double keep) {
  const auto count = static_cast<double>(scores.size());
  const double mean = std::reduce(scores.begin(), scores.end()) / count;
  double squares = 0;
  for (const double score : scores) squares += (score - mean) * (score - mean);
  const double deviation = scores.size() > 1 ? std::sqrt(squares / (count - 1)) : 0;
  Probabilities s;
  for (const double score : scores) s.push_back(1 / (1 + std::exp(-(score - mean) / (deviation + 1e-8))));
  const double shift = keep - std::reduce(s.begin(), s.end()) / count;
  for (double& value : s) value = std::clamp(value + shift, 0.0, 1.0);
  return s;
}

Probabilities projected(const Probabilities& s, double budget) {
  double by = 0;
  if (lowered_sum(s, 0) > budget) {
    double low = 0, high = *std::ranges::max_element(s);
    for (int i = 0; i < 200 && low < high; ++i) {
      const double middle = low + (high - low) / 2;
      if (middle <= low || middle >= high) break;
      const double sum = lowered_sum(s, middle);
      (sum > budget ? low : high) = middle;
      if (sum <= budget && sum >= budget * (1 - kBudgetTolerance)) break;
    }
    by = high;  // the side on which the sum is not larger
  }
  Probabilities result;
  for (const double value : s) result.push_back(std::clamp(value - by, 0.0, 1.0));
  return result;
}

double score_term(bool kept, double s, ScoreForm form) {
  const double difference = (kept ? 1 : 0) - s;
  const double product = (s + kScoreFloor) * (1 - s + kScoreFloor);
  if (form == ScoreForm::root) return difference / std::sqrt(product);
  return difference / std::max(s * (1 - s), kScoreFloor);
}

std::vector<double> policy_gradient(const Probabilities& s, const std::vector<UnitMask>& masks,
                                    std::span<const double> losses, double baseline, ScoreForm form) {
  SL_ASSERT(!masks.empty() && masks.size() == losses.size());
  const double divisor = masks.size() > 1 ? static_cast<double>(masks.size() - 1) : 1;
  std::vector<double> weights;
  for (const double loss : losses) weights.push_back((loss - baseline) / divisor);
  return weighted_scores(s, masks, weights, form);
}

std::vector<double> leave_one_out_gradient(const Probabilities& s, const std::vector<UnitMask>& masks,
                                           std::span<const double> losses, std::size_t group, ScoreForm form) {
  SL_ASSERT(group > 0 && masks.size() == losses.size() && masks.size() > group);
  const double all = std::reduce(losses.begin(), losses.end());
  std::vector<double> weights;
  for (std::size_t first = 0; first < losses.size(); first += group) {
    const auto own = losses.subspan(first, std::min(group, losses.size() - first));
    const double others = (all - std::reduce(own.begin(), own.end())) / static_cast<double>(losses.size() - own.size());
    for (const double loss : own) weights.push_back((loss - others) / static_cast<double>(losses.size()));
  }
  return weighted_scores(s, masks, weights, form);
}

double moved_baseline(double baseline, double loss, std::int64_t window) {
  const double share = 1 / static_cast<double>(window);
  return (1 - share) * baseline + share * loss;
}

double cosine_rate(double rate, std::int64_t step, std::int64_t steps) {
  return rate / 2 * (1 + std::cos(std::numbers::pi * static_cast<double>(step) / static_cast<double>(steps)));
}

std::int64_t removed_by(std::int64_t units, double keep) {
  return static_cast<std::int64_t>(std::floor(static_cast<double>(units) * (1 - keep)));
}

UnitMask likeliest_mask(const Probabilities& s, std::int64_t removed) {
  std::vector<std::size_t> order(s.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t unit) { return s[unit]; });
  UnitMask mask(s.size(), true);
  for (std::int64_t i = 0; i < removed; ++i) mask[order[static_cast<std::size_t>(i)]] = false;
  return mask;
}

std::vector<UnitMask> drawn_masks(const Probabilities& s, std::int64_t count, bool antithetic, Rng& rng) {
  std::vector<UnitMask> masks;
  std::vector<double> uniform(s.size());
  for (std::int64_t k = 0; k < count; ++k) {
    const bool mirrored = antithetic && k % 2 == 1;
    UnitMask mask(s.size());
    for (std::size_t unit = 0; unit < s.size(); ++unit) {
      uniform[unit] = mirrored ? 1 - uniform[unit] : rng.uniform();
      mask[unit] = uniform[unit] < s[unit];
    }
    masks.push_back(std::move(mask));
  }
  return masks;
}

}  // namespace streamline
