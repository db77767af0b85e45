// SPDX-License-Identifier: Apache-2.0
// The weights of a layer of which heads or channels went, and the same layer with them switched off.
#pragma once

#include "streamline/arch/layer_slice.h"
#include "streamline/nn/weights.h"

namespace streamline {

// Copies of what stays; tensors that the slice leaves whole are shared. The slice fits the layer (check_slice()).
LayerWeights sliced(const LayerWeights& weights, const LayerSlice& slice);

// The rows (dimension 0) or columns of a tensor by index, zeros for -1.
torch::Tensor gathered(const torch::Tensor& tensor, const TensorCut& cut);

// Gates of one for what a slice keeps and zero for what goes: with them the whole layer computes what the sliced one
// does.
Gates slice_mask(const LayerConfig& layer, const LayerSlice& slice, torch::Device device, torch::ScalarType dtype);

}  // namespace streamline
