// SPDX-License-Identifier: Apache-2.0
// The fused kernels where gradients are wanted, for tensors that they serve(): forward as in kernels.h, to the bit;
// backward in one pass, fp32 inside, rounded once. They keep their inputs for the way back, and nothing else
// (attention: also its result and a number a row). A second derivative is an error (unsupported).
#pragma once

#include "streamline/nn/flash_attention.h"
#include "streamline/nn/torch.h"

namespace streamline::kernels {

// kernels::rms_norm, differentiable in x, [..., width], and weight, [width].
torch::Tensor recorded_rms_norm(const torch::Tensor& x, const torch::Tensor& weight, double epsilon, double offset = 0);

// silu(gate) * up, of one shape, differentiable in both.
torch::Tensor recorded_silu_product(const torch::Tensor& gate, const torch::Tensor& up);

// x, [batch, seq, heads, head_dim], turned as by kernels::rotate; differentiable in x. cos, sin: [seq, pairs], fp32.
torch::Tensor recorded_rotation(const torch::Tensor& x, const torch::Tensor& cos, const torch::Tensor& sin);

// flash_attention, differentiable in q, k and v, for tensors that flash_attention_serves.
torch::Tensor recorded_attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                                 const FlashOptions& options);

}  // namespace streamline::kernels
