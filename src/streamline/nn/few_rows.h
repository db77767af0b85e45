// SPDX-License-Identifier: Apache-2.0
// Products of a few rows with a whole matrix, as decoding asks for: each is as fast as the matrix can be read, once.
#pragma once

#include "streamline/nn/torch.h"

namespace streamline::kernels {

// Whether base + x weightᵀ + bias, as below, is better computed here: a few rows, all of one type that there are
// kernels for, weight by rows, no gradient wanted.
bool few_rows_apply(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                    const torch::Tensor& base = {});

// base + scale * (x weightᵀ + bias), [rows, out]. x: [rows, in], weight: [out, in]; base: [rows, out] and bias: [out]
// may be undefined. Sums in fp32, rounded once. Only where few_rows_apply(). The numbers do not depend on how many
// threads there are.
torch::Tensor few_rows_product(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                               const torch::Tensor& base = {}, double scale = 1);

}  // namespace streamline::kernels
