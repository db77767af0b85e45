// SPDX-License-Identifier: Apache-2.0
// Sums by component of what matrices read, in one pass over memory.
#pragma once

#include "streamline/nn/torch.h"

namespace streamline {

// Adds to `sums` and `squares`, [columns] fp64 on the CPU and zeros where undefined, what the rows of x sum up to and
// the squares of their elements. x: [rows, columns] or [batch, rows, columns], of any strides, type and device; what is
// neither fp32 nor bf16 is made fp32 first. On the CPU sums and products are those of fp64, row after row, whatever the
// number of threads: variances are differences of these, in which the roundings of fp32 would show.
void add_column_sums(const torch::Tensor& x, torch::Tensor& sums, torch::Tensor& squares);

}  // namespace streamline
