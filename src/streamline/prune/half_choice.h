// SPDX-License-Identifier: Apache-2.0
// Halves of layers, chosen in one shot: those of the lowest importance.
#pragma once

#include "streamline/prune/method.h"

namespace streamline {

// The parameters layers, halves, sparsity and protect.
Params half_params();

// The halves that a method drops by themselves, with those of its parameters that are given: `units` or `kind` say it
// where it has them.
HalfKinds half_kinds(const Method& method, const Json& params);

struct ScoredHalf {
  std::int64_t layer = 0;
  bool attention = true;  // else the MLP
  double importance = 0;  // the lowest go first
};

// The halves of those kinds that can be dropped by themselves, each with its importance: of attention first, by layer.
// Errors: usage, naming the method, when the model has none, or the scores do not know them.
std::vector<ScoredHalf> scored_halves(const Scores& scores, HalfKinds kinds, std::string_view method,
                                      const std::function<double(const UpdateStatistics&)>& importance);

// The plan that drops the first of them, ties to the first in the list: `halves` of them, or as many as `layers` layers
// have, or what comes closest to the sparsity. Everything of the proposal but its scores and its signature.
// Errors: usage for sizes that cannot be had, and where something is to be put in their place.
Proposal drop_least_important_halves(const PruneContext& context, const Json& params, std::string_view method,
                                     HalfKinds kinds, const std::vector<ScoredHalf>& halves);

// attention-drop, mlp-drop and joint-drop (He et al., arXiv 2406.15786): 1 - the cosine of what enters a half and the
// stream after it.
Proposal drop_halves_by_cosine(PruneContext& context, const Json& params, std::string_view method, HalfKinds kinds);

}  // namespace streamline
