// SPDX-License-Identifier: Apache-2.0
// Scores of heads and channels that ranks make layer by layer, each in its turn, and all of them then have.
#pragma once

#include "streamline/prune/inside_gradients.h"
#include "streamline/prune/unit_scores.h"

namespace streamline {

// Zeros for all units of all layers.
UnitScores no_scores(const Config& config);

// Adds up what the ranks have, of which all but one have zeros of a layer.
void sum_scores(const Ranks& ranks, UnitScores& scores);

// Of every layer; of each it is one rank that calls `make`, which gives as many scores as no_scores() has.
UnitScores scores_by_layer(const Model& model, const std::function<InsideScores(std::int64_t layer)>& make);

// The same from the gradients of inside_gradients(). Errors: numeric where the loss is none.
using ScoresOfGradients = std::function<InsideScores(std::int64_t layer, const LayerGradients& gradients)>;
UnitScores gradient_scores(const Model& model, const torch::Tensor& ids, GradientOf what,
                           const ScoresOfGradients& make);

}  // namespace streamline
