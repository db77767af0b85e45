// SPDX-License-Identifier: Apache-2.0
// Stored numbers as float32: plain types, and GGUF's quantised blocks.
#pragma once

#include <cstddef>
#include <span>

#include "streamline/io/dtype.h"

namespace streamline {

// Whether dequantize() knows the type: F32, F16, BF16, F8_E4M3, F8_E5M2, Q4_0 to Q8_0, Q2_K to Q6_K, IQ4_NL, IQ4_XS,
// MXFP4.
bool can_dequantize(DType dtype);

// Writes the elements of whole blocks, one after the other. The results are those of the `gguf` Python package, bit for
// bit, on any machine. `from` holds as many blocks as `to` has room for. Errors: unsupported, for other types.
void dequantize(DType dtype, std::span<const std::byte> from, std::span<float> to);

}  // namespace streamline
