// SPDX-License-Identifier: Apache-2.0
// What heads and channels are worth by what the last matrices of the halves read and how much they make of it.
#pragma once

#include "streamline/prune/inside_statistics.h"
#include "streamline/prune/unit_scores.h"

namespace streamline {

// Wanda-sp (as the policy-gradient code has it): of a channel the mean over output rows of |W_ij| ||X_j||; of a group
// that sum over a head's columns, its mean over the group's query heads.
UnitScores wanda_scores(const Model& model, const std::vector<LayerReads>& reads);

// FLAP's fluctuation (An et al., arXiv 2312.11983, "WIFV"): the variance of X_j over tokens times |W_:j|²; of a group
// the sum over its columns.
UnitScores fluctuation_scores(const Model& model, const std::vector<LayerReads>& reads);

}  // namespace streamline
