// SPDX-License-Identifier: Apache-2.0
// Which weights of a matrix stay, a bit each: a sixteenth of what the matrix itself takes.
#pragma once

#include "streamline/nn/torch.h"

namespace streamline {

// Of tensors on the CPU, of elements of 2, 4 or 8 bytes.

// How many bytes the bits of a tensor take.
std::int64_t bytes_of_bits(const torch::Tensor& tensor);

// Of every element whether any of its bits is set: [bytes_of_bits] uint8, the first in the lowest bit.
torch::Tensor kept_bits(const torch::Tensor& pruned);

// A copy with zeros where a bit is not set. bits: as kept_bits() of its shape has them.
torch::Tensor with_kept(const torch::Tensor& stored, const torch::Tensor& bits);

}  // namespace streamline
