// SPDX-License-Identifier: Apache-2.0
// Single layers, chosen in one shot: those of the lowest importance, wherever they lie.
#pragma once

#include "streamline/prune/cut_request.h"

namespace streamline {

// Importance of each layer of a model; the lowest go first.
struct LayerImportance {
  std::string name = {};  // what the number is, for plan.scores
  std::vector<double> values = {};
};

// Indices by rising value, ties to the earliest, without those that are protected.
std::vector<std::int64_t> removal_order(const std::vector<double>& importance,
                                        const std::vector<std::int64_t>& protect);

// The plan that drops the first layers of that order, or replaces each run of them by the context's replacement; of
// nested choices for growing counts. Everything of the proposal but its scores and its signature.
// Errors: usage for sizes that cannot be had.
Proposal drop_least_important(const PruneContext& context, const CutRequest& request,
                              const LayerImportance& importance);

}  // namespace streamline
