// SPDX-License-Identifier: Apache-2.0
// What a shorter model keeps of a longer one's multiple-choice answers: stability and relative performance, as
// LLM-Streamline judges them (arXiv 2403.19135, section 4.1 and its released evaluation script).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace streamline {

// What a choice is scored by; the lowest wins. Spreads of one kind say nothing beside those of another, so whoever
// shows a stability names the kind.
enum class ChoiceScore {
  opencompass_nll,  // summed nats of the rendered text's T - 1 predicted tokens, over T, as OpenCompass's PPL mode
  mean_nll,         // the same sum over the T - 1 tokens that were predicted
  perplexity,       // e to the mean_nll
  answer_nll,       // summed nats of the answer alone, behind its context
};
std::string_view name(ChoiceScore score);

// nll: summed nats; tokens: T, the first token included. Errors: internal for fewer than two tokens, and for
// answer_nll, which has no denominator.
double choice_score(ChoiceScore score, double nll, std::int64_t tokens);

// One question, answered by one model.
struct ChoiceItem {
  std::vector<double> scores;  // one a choice
  std::size_t gold = 0;
  std::optional<std::size_t> answered = {};  // the choice that the model is taken to have made; empty: the lowest score
};

// What was answered; else the lowest score's choice, the first one on ties.
std::size_t prediction(const ChoiceItem& item);

// Population standard deviation over the choices: how sure the model is of its answer.
double spread(std::span<const double> scores);

// exp(spread) / sum of exp(spread) over the questions, computed from differences, so that no spread overflows.
std::vector<double> stability_weights(std::span<const ChoiceItem> original);

// Sum of the original's weights over the questions that both models answer rightly or both answer wrongly: 1 for the
// same model, 0 when every question changed sides. Errors: mismatch when the two are not answers to the same questions.
double stability(std::span<const ChoiceItem> original, std::span<const ChoiceItem> shorter);

// The arithmetic of the script that was released with the paper, for comparison with what it printed: with K questions
// on which the models agree, the sum of the weights of the *first* K questions, whichever these are, from exp(spread)
// that may overflow (the result is then NaN). Errors as stability.
double stability_as_published(std::span<const ChoiceItem> original, std::span<const ChoiceItem> shorter);

// 100 * mean(shorter) / mean(original) over benchmarks: a ratio of means, not a mean of ratios.
double relative_performance(std::span<const double> original, std::span<const double> shorter);

}  // namespace streamline
