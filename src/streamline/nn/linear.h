// SPDX-License-Identifier: Apache-2.0
// Matrix products with [out, in] weights and optional bias.
#pragma once

#include "streamline/nn/weights.h"

namespace streamline {

// x: [..., in] → [..., out].
torch::Tensor linear(const torch::Tensor& x, const RoleTensors& weights);

// Rows first … first+count-1 of [out, in] weights and their bias: views.
RoleTensors rows(const RoleTensors& weights, std::int64_t first, std::int64_t count);

// residual + scale * linear(x): one product that adds into its result, instead of a sum in a pass of its own.
// residual: [..., out]. With `reuse`, and where no gradient is wanted, the result may take residual's memory.
enum class Reuse { no, yes };
torch::Tensor add_linear(const torch::Tensor& residual, const torch::Tensor& x, const RoleTensors& weights, Reuse reuse,
                         double scale = 1);

// Whether autograd would record an operation on these tensors.
bool needs_gradient(std::initializer_list<torch::Tensor> tensors);

}  // namespace streamline
