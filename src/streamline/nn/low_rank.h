// SPDX-License-Identifier: Apache-2.0
// A low-rank update beside a matrix: y = x Wᵀ + scale · drop(x) Aᵀ Bᵀ (LoRA, Hu et al., arXiv 2106.09685, section 4.1).
#pragma once

#include <cstdint>

#include "streamline/nn/torch.h"

namespace streamline {

struct LowRank {
  torch::Tensor a = {}, b = {};  // [rank, in] and [out, rank], of any type; undefined: no update
  double scale = 1;              // alpha / rank
  double dropout = 0;            // share of what enters that is left out; the rest is scaled up
  std::uint64_t seed = 0;        // which: the same for the same seed and shape, so that a layer can be computed anew

  bool defined() const { return a.defined(); }
};

// The second term of the sum. x: [..., in] → [..., out], in x's type.
torch::Tensor low_rank_update(const torch::Tensor& x, const LowRank& update);

// W + scale · B A, in fp32 and rounded to W's type.
torch::Tensor merged(const torch::Tensor& weight, const LowRank& update);

}  // namespace streamline
