// SPDX-License-Identifier: Apache-2.0
// Negative log likelihood of tokens, from the hidden states that predict them.
#pragma once

#include <span>
#include <vector>

#include "streamline/engine/model.h"

namespace streamline {

// A token that is predicted from a row of hidden states.
struct TokenTarget {
  std::int64_t row = 0;
  std::int64_t token = 0;
};
struct TokenScore {
  double loss = 0;         // -log p(token), nats
  bool likeliest = false;  // no other token's logit is larger
};

// One score a target. hidden: [rows, hidden] after the last layer, before the final norm; tokens: ids in 0 … vocab-1;
// a row may have any number of targets. Logits in the compute type, the softmax summed in double, piece by piece of the
// vocabulary: memory is about 64 MB above the rows, whatever the vocabulary. NaN where a logit is NaN or infinite.
std::vector<TokenScore> token_scores(const Model& model, const torch::Tensor& hidden,
                                     std::span<const TokenTarget> targets);

// The same in float64 tensor expressions on any device, from all logits of a row at once.
std::vector<TokenScore> token_scores_by_tensors(const Model& model, const torch::Tensor& hidden,
                                                std::span<const TokenTarget> targets);

// The losses of one target a row.
std::vector<double> token_losses(const Model& model, const torch::Tensor& hidden,
                                 const std::vector<std::int64_t>& targets);

}  // namespace streamline
