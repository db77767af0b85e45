// SPDX-License-Identifier: Apache-2.0
// Normalisation of the last dimension, in fp32 (fp64 for fp64) inside whatever the input's type.
#pragma once

#include "streamline/arch/config.h"
#include "streamline/nn/weights.h"

namespace streamline {

// x / sqrt(mean(x^2) + epsilon) * (offset + weight) (Zhang and Sennrich, arXiv 1910.07467, eq. 4; Gemma's offset is 1);
// [..., width] → the same.
torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& weight, double epsilon, double offset = 0);

// (x - mean) / sqrt(variance + epsilon) * weight + bias (Ba et al., arXiv 1607.06450, eq. 4), [..., width] → the same.
// The bias may be undefined.
torch::Tensor layer_norm(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                         double epsilon);

// The norm of the model's family: RMSNorm, or LayerNorm with its bias if it has one.
torch::Tensor norm(const Config& config, const RoleTensors& weights, const torch::Tensor& x);

// The type in which sums over x are accumulated.
torch::ScalarType accumulation_type(torch::ScalarType type);

}  // namespace streamline
