// SPDX-License-Identifier: Apache-2.0
// Attention of one query a sequence, as decoding asks for: keys and values are read once for a group of query heads.
#pragma once

#include "streamline/nn/flash_attention.h"

namespace streamline {

// Whether q, k and v, shaped as flash_attention's, are one query each of a type that there are kernels for, and no
// gradient is wanted.
bool one_query_applies(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v);

// flash_attention of q: [batch, 1, heads, head_dim], of any sign of scale. Sums in fp32, rounded once.
torch::Tensor one_query_attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                                  const FlashOptions& options);

}  // namespace streamline
