// SPDX-License-Identifier: Apache-2.0
// Several layers folded into one (LaCo, arXiv 2402.11187).
#pragma once

#include <span>

#include "streamline/nn/weights.h"

namespace streamline {

// What becomes of the matrices of a layer and the m that follow it.
enum class MergeRule {
  telescoped,  // those of the last: what the released code computes
  equation1,   // the first plus the differences of the others to it: their sum - (m - 1) * the first
  mean,        // the mean of the others: the first plus the mean of the differences
};
// Whose norms the folded layer has.
enum class MergeNorms { first, last };

// group: a layer and those that follow it, at least two of one shape. Sums in float64; equal layers give the same layer
// again, and one follower itself, to the bit. Errors: unsupported where the shapes differ.
LayerWeights merged(std::span<const LayerWeights> group, MergeRule rule, MergeNorms norms);

}  // namespace streamline
