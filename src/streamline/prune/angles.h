// SPDX-License-Identifier: Apache-2.0
// Angular distance: the angle between two vectors as a share of the half turn, arccos(cosine) / pi, in 0 … 1.
#pragma once

#include <cstdint>
#include <vector>

namespace streamline {

// sums[k] += the angular distance of two vectors whose 1 - cosine is versed[k], to 3e-7 relative. versed in 0 … 2.
void add_angular_distances(const float* versed, double* sums, std::int64_t count);

// The same of every pair of vectors of one width, in float64, exact where they nearly coincide, which no arccos is:
// [S, S] row-major, symmetric. 1/2 with a zero vector.
std::vector<double> angular_distances(std::vector<std::vector<double>> vectors);

}  // namespace streamline
