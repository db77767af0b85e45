// SPDX-License-Identifier: Apache-2.0
// What a model that lost something is judged by on a text: its loss, or how far it is from the whole model.
#pragma once

#include <string_view>

#include "streamline/base/params.h"
#include "streamline/prune/stack_parts.h"

namespace streamline {

enum class TextMeasure {
  loss,    // mean negative log likelihood of tokens 1 … T-1, nats
  logits,  // mean over positions of the L2 distance of the raw logits from the whole model's
  kl,      // mean over positions of KL(whole model || model), nats
};
TextMeasure text_measure(std::string_view name);  // "loss", "logits", "kl"
Param measure_param(const std::string& default_measure);

// One value a row of `last`, [k * sequences, tokens, hidden] after the last layer: the batch's sequences k times over.
// whole: [sequences, tokens, hidden], the whole model's; positions 0 … T-2 enter. NaN where a logit is none.
std::vector<double> measure(const Model& model, TextMeasure measure, const TextBatch& batch, const torch::Tensor& whole,
                            const torch::Tensor& last);

}  // namespace streamline
