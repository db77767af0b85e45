// SPDX-License-Identifier: Apache-2.0
// Checkpoints whose matrices are FP8 with factors beside them, as numbers to compute with: DeepSeek's and Qwen's
// `weight_scale_inv` over blocks (`weight_block_size`), and `weight_scale` over rows or the whole matrix, as
// compressed-tensors, ModelOpt and FBGEMM write it. The value is the stored element times its factor; how activations
// would be quantised (`input_scale`) is not imitated.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "streamline/io/checkpoint.h"

namespace streamline {

// Whether what is quantised is FP8 with factors.
bool is_fp8(const Checkpoint& checkpoint);

// Whether a tensor is not a parameter but the scale of one, or of activations.
bool is_scale(std::string_view name);

// The tensors of a checkpoint that is_fp8(), with their factors attached to the matrices. Errors: format for a block
// size that is none, mismatch for factors that are missing or of the wrong shape, unsupported for those that are not
// plain numbers.
std::vector<TensorInfo> with_factors(const Checkpoint& checkpoint);

// The checkpoint so described; itself where nothing is FP8.
std::shared_ptr<const Checkpoint> fp8_view(std::shared_ptr<const Checkpoint> checkpoint);

}  // namespace streamline
