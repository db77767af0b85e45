// SPDX-License-Identifier: Apache-2.0
// How far a model's predictions on a text are from its source's, token by token: Kullback-Leibler divergence, the same
// first choice, and how the probability of the right token moved; as llama.cpp's perplexity tool reports them.
#pragma once

#include "streamline/base/json.h"
#include "streamline/base/stats.h"
#include "streamline/eval/perplexity.h"

namespace streamline {

// What the source says about a text: the states that its head turns into logits. They are exact, and with `hidden`
// values a token smaller than the logits of a few hundred likely tokens.
struct SourcePredictions {
  PerplexityResult perplexity;
  std::vector<torch::Tensor> hidden;  // [rows, hidden] each, on the CPU; of this rank's windows
  std::int64_t batch_tokens = 0;      // that ran together, which decides whose windows are whose
};
SourcePredictions source_predictions(const Model& source, const EvaluationText& text, const PerplexityOptions& options,
                                     std::optional<TokenId> bos);

struct Divergence {
  Estimate kl;  // of p(source) || p(model), nats a token; the standard error takes tokens as independent
  double kl_median = 0, kl_99 = 0, kl_largest = 0;  // over tokens; kl_99: 99th percentile
  Estimate same_first_choice;                       // share of tokens
  Estimate mean_difference;                         // of the right token's probability: model's minus source's
  double rms_difference = 0;
  Estimate log_perplexity_ratio;  // of the model and the source
};

struct ComparedPredictions {
  PerplexityResult perplexity;
  Divergence divergence;
};

// The model's perplexity on the text that `predictions` are of, and its divergence from them. All of the vocabulary
// enters, in float64. Errors: those of perplexity(); mismatch when the two have different vocabularies.
ComparedPredictions compare_predictions(const Model& model, const Model& source, const SourcePredictions& predictions,
                                        const EvaluationText& text, const PerplexityOptions& options,
                                        std::optional<TokenId> bos);

Json to_json(const Divergence& divergence);

}  // namespace streamline
