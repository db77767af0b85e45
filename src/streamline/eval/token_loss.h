// SPDX-License-Identifier: Apache-2.0
// Negative log likelihood of tokens, from the hidden states that predict them.
#pragma once

#include <vector>

#include "streamline/engine/model.h"

namespace streamline {

// -log p(target) in nats, one a row. hidden: [rows, hidden] after the last layer, before the final norm; targets: ids
// in 0 … vocab-1. Logits in the compute type, the softmax summed in double, piece by piece of the vocabulary: memory is
// about 64 MB above the rows, whatever the vocabulary. NaN where a logit is NaN or infinite.
std::vector<double> token_losses(const Model& model, const torch::Tensor& hidden,
                                 const std::vector<std::int64_t>& targets);

// The same in float64 tensor expressions on any device, from all logits of a row at once.
std::vector<double> token_losses_by_tensors(const Model& model, const torch::Tensor& hidden,
                                            const std::vector<std::int64_t>& targets);

}  // namespace streamline
