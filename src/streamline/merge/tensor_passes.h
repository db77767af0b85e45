// SPDX-License-Identifier: Apache-2.0
// What a merge must know of whole tensors before it can compute a block of one: which entries of a task vector are
// kept and by how much they grow, and the angle between two models' tensors.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "streamline/merge/stored_rows.h"

namespace streamline::merge {

// Of one operand's task vector.
struct Kept {
  float threshold = 0;  // magnitudes below are left out
  // Of the entries at the threshold the first so many of each block stay; empty: all of them.
  std::vector<std::int64_t> at_threshold = {};
  double rescale = 1;
};
Kept find_kept(const TensorMerge& merge, const Grid& grid, std::size_t operand);

// Puts zero for what is left out of a block of the operand's task vector, and rescales the rest.
void drop_entries(const Kept& kept, const Block& block, const TensorMerge& merge, std::size_t operand,
                  std::span<float> values);

// The magnitude at which the largest `density` of an operand's task vector over all these tensors begin. Errors:
// internal without tensors.
float model_threshold(std::span<TensorMerge* const> merges, std::size_t operand, double density);

// The factors of the first and the second tensor in their spherical interpolation; of tensors in nearly one line
// (cosine beyond ±0.9995) those of the linear one.
std::pair<double, double> slerp_shares(const TensorMerge& merge, const Grid& grid);

}  // namespace streamline::merge
