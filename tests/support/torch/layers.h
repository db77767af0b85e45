// SPDX-License-Identifier: Apache-2.0
// Single layers with random weights, without a checkpoint.
#pragma once

#include <optional>

#include "streamline/nn/block.h"

namespace streamline::test {

// A configuration of hidden size 32 around a family that has only these traits.
Config layer_test_config(Traits traits = {});
// 4 heads of 8 over 2 groups and a gated MLP of 48, unless changed.
LayerConfig layer_test_shape();
// Weights of that shape; `norms` also have biases when the family's norm is LayerNorm.
LayerWeights random_layer(const Config& config, const LayerConfig& shape, std::uint64_t seed);

}  // namespace streamline::test
