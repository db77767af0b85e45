// SPDX-License-Identifier: Apache-2.0
// What a merge must know of whole tensors before it can compute a block of one: which entries of a task vector are
// kept and by how much they grow, and the angle between two models' tensors.
#pragma once

#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "streamline/merge/stored_rows.h"

namespace streamline::merge {

// Of one operand's task vector.
struct Kept {
  std::uint32_t least = 0;  // the bits of the least magnitude that stays
  // Of the entries that have this magnitude those from this one of the tensor on do not stay.
  std::int64_t ties_end = std::numeric_limits<std::int64_t>::max();
  double rescale = 1;
};
// Of each operand.
std::vector<Kept> find_kept(const TensorMerge& merge, const Grid& grid);

// Puts zero for what is left out of a block of the operand's task vector, and rescales the rest.
void drop_entries(const Kept& kept, const Block& block, const TensorMerge& merge, std::size_t operand,
                  std::span<float> values);

// The factors of the first and the second tensor in their spherical interpolation; of tensors in nearly one line
// (cosine beyond ±0.9995) those of the linear one.
std::pair<double, double> slerp_shares(const TensorMerge& merge, const Grid& grid);

}  // namespace streamline::merge
