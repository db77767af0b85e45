// SPDX-License-Identifier: Apache-2.0
// The softmax of logits as losses on a large vocabulary need it: its normaliser, and probabilities times a factor a
// row, which is what gradients are made of. One pass over the logits each on a CPU in fp32 or bf16, where tensor
// expressions take ten; elsewhere those expressions.
#pragma once

#include "streamline/nn/torch.h"

namespace streamline {

// log(sum of e^x) over the last dimension. logits: [rows, width]; result: [rows], fp64, not finite where there is a NaN
// or +infinity. Exponentials are fp32 (fp64 of fp64 logits), their sums fp64 where the kernel serves.
torch::Tensor log_sum_exp(const torch::Tensor& logits);

// factors * e^(logits - log_sums), in the type of the logits, rounded once. log_sums (of log_sum_exp) and factors:
// [rows], fp64. A row whose factor is zero is zero.
torch::Tensor scaled_softmax(const torch::Tensor& logits, const torch::Tensor& log_sums, const torch::Tensor& factors);

}  // namespace streamline
