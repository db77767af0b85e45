// SPDX-License-Identifier: Apache-2.0
// The numbers that a stored tensor stands for: dequantised, and with whatever its container did to it undone.
#pragma once

#include <span>

#include "streamline/io/checkpoint.h"

namespace streamline {

// Rows of a tensor: its elements over the width of its last dimension (a vector is one row).
std::int64_t row_count(const TensorInfo& tensor);

// Writes `count` rows from `first` on as float32. `to` has room for them. Errors: unsupported for a type whose elements
// are not known as numbers.
void read_rows(const Checkpoint& checkpoint, const TensorInfo& tensor, std::int64_t first, std::int64_t count,
               std::span<float> to);

}  // namespace streamline
