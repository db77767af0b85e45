// SPDX-License-Identifier: Apache-2.0
// Fused kernels for the CPU: each is one pass over memory in place of the four to eight of the tensor expression beside
// its caller, which stays the definition (and serves CUDA and other types). These record nothing for autograd; where a
// gradient is wanted, see kernel_gradients.h.
#pragma once

#include <initializer_list>

#include "streamline/nn/torch.h"

namespace streamline::kernels {

// Whether there are kernels for these tensors: all on the CPU and of one type, fp32 or bf16.
bool serve(std::initializer_list<torch::Tensor> tensors);

// Whether these are to be taken: they serve, and no gradient is wanted of any tensor.
bool apply_to(std::initializer_list<torch::Tensor> tensors);

// x / sqrt(mean(x^2) + epsilon) * (offset + weight) over the last dimension, fp32 inside, rounded once.
torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& weight, double epsilon, double offset = 0);

// (x - mean) / sqrt(variance + epsilon) * weight + bias over the last dimension, fp32 inside, rounded once. The bias
// may be undefined.
torch::Tensor layer_norm(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                         double epsilon);

// gate := silu(gate) * up, in place; fp32 inside, rounded once. Both contiguous.
void silu_multiply(torch::Tensor& gate, const torch::Tensor& up);

// The same into a new contiguous tensor, from any strides.
torch::Tensor silu_product(const torch::Tensor& gate, const torch::Tensor& up);

// Rotary embedding in place of the first 2 * pairs components. x: [batch, seq, heads, head_dim], contiguous; cos, sin:
// [seq, pairs], fp32.
void rotate(torch::Tensor& x, const torch::Tensor& cos, const torch::Tensor& sin);

// The same into a new contiguous tensor, from x with any strides; or turned back, which is the transpose of that.
enum class Turn { forth, back };
torch::Tensor rotated(const torch::Tensor& x, const torch::Tensor& cos, const torch::Tensor& sin, Turn turn);

}  // namespace streamline::kernels
