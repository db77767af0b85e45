// SPDX-License-Identifier: Apache-2.0
// The memory of a tensor, for files and digests.
#pragma once

#include <cstddef>
#include <span>

#include "streamline/nn/torch.h"

namespace streamline {

// Of one that lies on the CPU in one piece, and for as long as it does.
inline std::span<const std::byte> bytes_of(const torch::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

}  // namespace streamline
