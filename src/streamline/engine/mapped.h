// SPDX-License-Identifier: Apache-2.0
// Stored tensors as torch tensors.
#pragma once

#include <memory>

#include "streamline/arch/config.h"
#include "streamline/nn/torch.h"

namespace streamline {

// A view of the mapped file in the stored type, which keeps the checkpoint alive; never to be written to (the mapping
// is read-only). A tensor that does not lie at a multiple of its element's size is copied, and one that is not plain
// (quantised, rearranged) is read into `type`.
torch::Tensor mapped_tensor(std::shared_ptr<const Checkpoint> checkpoint, const TensorInfo& info,
                            torch::ScalarType type = torch::kFloat);
// The type that it has when none is asked for.
torch::ScalarType mapped_type(const TensorInfo& info);

// Rows `ids` (any shape, int64, checked) of a matrix, on the CPU; nothing else of it is read.
torch::Tensor mapped_rows(const std::shared_ptr<const Checkpoint>& checkpoint, const TensorInfo& info,
                          const torch::Tensor& ids);

}  // namespace streamline
