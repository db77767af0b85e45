// SPDX-License-Identifier: Apache-2.0
// Where the largest entries of task vectors begin, over a tensor or over all of them, exactly: tensors of bfloat16 are
// passed over once (bracket_counts.h), others twice (base/magnitude_counts.h).
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "streamline/merge/stored_rows.h"

namespace streamline::merge {

// The largest entries of a tensor's task vector.
struct Largest {
  float threshold = 0;  // magnitudes below are left out
  // Of the entries at the threshold those from this one on are left out as well.
  std::int64_t ties_end = std::numeric_limits<std::int64_t>::max();
};

// Exactly the share that its density says of each of these operands, of ties the first.
std::vector<Largest> find_largest(const TensorMerge& merge, const Grid& grid, const std::vector<std::size_t>& operands);

// The magnitudes at which the largest entries of each operand's task vector over all these tensors begin, by the
// densities of the first; negative where the density is 1, which keeps all. Errors: internal without tensors.
std::vector<float> model_thresholds(std::span<const TensorMerge* const> merges);

}  // namespace streamline::merge
