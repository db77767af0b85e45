// SPDX-License-Identifier: Apache-2.0
// Rows and columns taken of a tensor as a GGUF file stores it: what stays has the bytes that it had.
#pragma once

#include <span>
#include <string>

#include "streamline/arch/layer_slice.h"
#include "streamline/io/checkpoint.h"
#include "streamline/io/gguf_writer.h"

namespace streamline {

// Whether the cut takes whole blocks of a type: rows always are, and columns where each block's elements are side by
// side in one block of the source, or are all zeros.
bool takes_whole_blocks(DType dtype, const TensorCut& cut);

// `bytes` are those of `tensor`, [rows, columns] or [elements], and must outlive what is returned; heads are cut whole,
// so that rows which are interleaved in each head stay so. The cut takes whole blocks. Zeros are blocks of zero bytes,
// which all types read as zeros.
GgufTensor cut_gguf_tensor(std::span<const std::byte> bytes, const TensorInfo& tensor, std::string name, TensorCut cut);

}  // namespace streamline
