// SPDX-License-Identifier: Apache-2.0
// Which of the weights that lie side by side go, on plain arrays: no order is made, the highest score that goes is
// found by halving.
#pragma once

#include <cstdint>
#include <vector>

#include "streamline/base/simd.h"

namespace streamline::sparse {

// Of every `width` of `columns` weights, a multiple, zeroes the `count` of the lowest |w| * scale, of equal ones the
// first; what is no number stays the longest. scale: [columns], not negative. `scores` is scratch.
void zero_lowest(float* weights, const float* scale, std::int64_t columns, std::int64_t width, std::int64_t count,
                 std::vector<std::int32_t>& scores);
void zero_lowest(simd::Bf16* weights, const float* scale, std::int64_t columns, std::int64_t width, std::int64_t count,
                 std::vector<std::int32_t>& scores);

// Zeroes those of `count` weights whose magnitude is not above the limit; what is no number stays.
void zero_up_to(float* weights, std::int64_t count, float limit);
void zero_up_to(simd::Bf16* weights, std::int64_t count, float limit);

// How many of `count` weights are zero.
std::int64_t count_zeros(const float* weights, std::int64_t count);
std::int64_t count_zeros(const simd::Bf16* weights, std::int64_t count);

}  // namespace streamline::sparse
