// SPDX-License-Identifier: Apache-2.0
// 4-bit NormalFloat (QLoRA, Dettmers et al., arXiv 2305.14314, section 3 and appendix E), as bitsandbytes lays it out:
// blocks of 64 elements in row order, each divided by its largest absolute value, which is kept in fp32; 4.5 bits an
// element.
#pragma once

#include <vector>

#include "streamline/nn/torch.h"

namespace streamline {

struct Nf4Matrix {
  torch::Tensor codes;    // uint8, two elements a byte, the first in the upper half
  torch::Tensor largest;  // fp32, one a block
  std::vector<std::int64_t> shape;
};

Nf4Matrix quantise_nf4(const torch::Tensor& matrix);
torch::Tensor dequantise(const Nf4Matrix& matrix, torch::ScalarType dtype);

}  // namespace streamline
