// SPDX-License-Identifier: Apache-2.0
// The magnitude that is the limit of those that go when many numbers are judged together.
#pragma once

#include <cstdint>

#include "streamline/base/simd.h"

namespace streamline::sparse {

// What stands at `place` (from 0, below `count`) when magnitudes are sorted, by counting on all threads: the same for
// any number of them. What is no number stands behind all others and counts as infinity.
float magnitude_at(const float* values, std::int64_t count, std::int64_t place);
float magnitude_at(const simd::Bf16* values, std::int64_t count, std::int64_t place);

}  // namespace streamline::sparse
