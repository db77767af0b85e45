// SPDX-License-Identifier: Apache-2.0
// First-order Taylor importance of heads and channels: what the loss would change if they went, by its gradient.
#pragma once

#include "streamline/base/params.h"
#include "streamline/prune/inside_gradients.h"
#include "streamline/prune/unit_scores.h"

namespace streamline {

enum class TaylorForm {
  elements,  // Σ |W ∂L/∂W| over all weights of the group (LLM-Pruner's default, "param_first")
  group,     // |Σ W ∂L/∂W| over them ("vectorize")
  gate,      // |∂L/∂g| of a factor g = 1 on what the head or channel gives
};
TaylorForm taylor_form(std::string_view name);  // "elements", "group", "gate"

// From exact gradients of the mean loss of these tokens, [batch, seq] int64.
UnitScores taylor_scores(const Model& model, const torch::Tensor& ids, TaylorForm form);

// The parameters gradient-sequences and gradient-length, and the tokens that they name.
Params gradient_params();
torch::Tensor gradient_tokens(const Model& model, const TokenBatches& text, const Json& params);

}  // namespace streamline
