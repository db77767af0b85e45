// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/stability.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "streamline/base/error.h"

namespace streamline {
namespace {

double mean(std::span<const double> values) {
  SL_ASSERT(!values.empty());
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

bool right(const ChoiceItem& item) { return prediction(item) == item.gold; }

void check_same_questions(std::span<const ChoiceItem> original, std::span<const ChoiceItem> shorter) {
  if (original.size() != shorter.size())
    fail(ErrorKind::mismatch, "stability: ", original.size(), " answers of one model, ", shorter.size(),
         " of the other; both must answer the same questions");
  for (std::size_t i = 0; i < original.size(); ++i)
    if (original[i].gold != shorter[i].gold || original[i].scores.size() != shorter[i].scores.size())
      fail(ErrorKind::mismatch, "stability: question ", i, " differs between the two models (choices or right answer)");
}

}  // namespace

std::string_view name(ChoiceScore score) {
  switch (score) {
    case ChoiceScore::opencompass_nll:
      return "mean NLL, OpenCompass's denominator";
    case ChoiceScore::mean_nll:
      return "mean NLL";
    case ChoiceScore::perplexity:
      return "perplexity";
    case ChoiceScore::answer_nll:
      return "answer-only NLL";
  }
  fail(ErrorKind::internal, "unknown score of a choice");
}

double choice_score(ChoiceScore score, double nll, std::int64_t tokens) {
  SL_ASSERT(tokens >= 2 && score != ChoiceScore::answer_nll);
  if (score == ChoiceScore::opencompass_nll) return nll / static_cast<double>(tokens);
  const double mean_nll = nll / static_cast<double>(tokens - 1);
  return score == ChoiceScore::perplexity ? std::exp(mean_nll) : mean_nll;
}

std::size_t prediction(const ChoiceItem& item) {
  if (item.answered) return *item.answered;
  return static_cast<std::size_t>(std::min_element(item.scores.begin(), item.scores.end()) - item.scores.begin());
}

double spread(std::span<const double> scores) {
  const double center = mean(scores);
  double squares = 0;
  for (const double score : scores) squares += (score - center) * (score - center);
  return std::sqrt(squares / static_cast<double>(scores.size()));
}

std::vector<double> stability_weights(std::span<const ChoiceItem> original) {
  std::vector<double> weights;
  for (const ChoiceItem& item : original) weights.push_back(spread(item.scores));
  if (weights.empty()) return weights;
  const double largest = *std::max_element(weights.begin(), weights.end());
  for (double& weight : weights) weight = std::exp(weight - largest);
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& weight : weights) weight /= total;
  return weights;
}

double stability(std::span<const ChoiceItem> original, std::span<const ChoiceItem> shorter) {
  check_same_questions(original, shorter);
  const std::vector<double> weights = stability_weights(original);
  double kept = 0;
  for (std::size_t i = 0; i < weights.size(); ++i)
    if (right(original[i]) == right(shorter[i])) kept += weights[i];
  return kept;
}

double stability_as_published(std::span<const ChoiceItem> original, std::span<const ChoiceItem> shorter) {
  check_same_questions(original, shorter);
  std::size_t agreements = 0;
  double total = 0, first = 0;
  for (std::size_t i = 0; i < original.size(); ++i) {
    agreements += right(original[i]) == right(shorter[i]) ? 1 : 0;
    total += std::exp(spread(original[i].scores));
  }
  for (std::size_t i = 0; i < agreements; ++i) first += std::exp(spread(original[i].scores)) / total;
  return first;
}

double relative_performance(std::span<const double> original, std::span<const double> shorter) {
  return 100 * mean(shorter) / mean(original);
}

}  // namespace streamline
