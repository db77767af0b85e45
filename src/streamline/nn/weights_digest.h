// SPDX-License-Identifier: Apache-2.0
// Weights in digests of what a run depends on.
#pragma once

#include "streamline/base/digest.h"
#include "streamline/nn/tensor_bytes.h"
#include "streamline/nn/weights.h"

namespace streamline {

// The bytes of all tensors, in the order of LayerWeights::all().
inline void add_weights(Sha256& digest, const LayerWeights& weights) {
  for (const torch::Tensor& tensor : weights.all()) digest.update(bytes_of(tensor.to(torch::kCPU).contiguous()));
}

}  // namespace streamline
