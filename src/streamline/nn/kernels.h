// SPDX-License-Identifier: Apache-2.0
// Fused kernels for the CPU where no gradient is wanted: each is one pass over memory in place of the four to eight of
// the tensor expression beside its caller, which stays the definition (and serves CUDA, other types, and autograd).
#pragma once

#include <initializer_list>

#include "streamline/nn/torch.h"

namespace streamline::kernels {

// Whether these kernels serve: all tensors on the CPU, of one type (fp32 or bf16), and no gradient wanted of any.
bool apply_to(std::initializer_list<torch::Tensor> tensors);

// x / sqrt(mean(x^2) + epsilon) * (offset + weight) over the last dimension, fp32 inside, rounded once.
torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& weight, double epsilon, double offset = 0);

// gate := silu(gate) * up, in place; fp32 inside, rounded once.
void silu_multiply(torch::Tensor& gate, const torch::Tensor& up);

// Rotary embedding in place of the first 2 * pairs components. x: [batch, seq, heads, head_dim], contiguous; cos, sin:
// [seq, pairs], fp32.
void rotate(torch::Tensor& x, const torch::Tensor& cos, const torch::Tensor& sin);

}  // namespace streamline::kernels
