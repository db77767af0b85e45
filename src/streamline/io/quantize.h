// SPDX-License-Identifier: Apache-2.0
// float32 numbers into the types that GGUF files store: the inverse of dequantize.h.
#pragma once

#include <cstddef>
#include <span>

#include "streamline/io/dtype.h"

namespace streamline {

// Whether quantize() knows the type: F32, F16, BF16, Q8_0, Q4_0.
bool can_quantize(DType dtype);

// Writes whole blocks of `dtype`, rounded as the `gguf` Python package does, bit for bit, on any machine. `to` has room
// for the blocks of `from`, whose numbers are finite. Returns whether the type has a number for each of them: false
// when one, or the scale of a block, is beyond float16. Errors: unsupported, for other types.
bool quantize(DType dtype, std::span<const float> from, std::span<std::byte> to);

}  // namespace streamline
