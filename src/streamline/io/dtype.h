// SPDX-License-Identifier: Apache-2.0
// Element types of stored tensors.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace streamline {

enum class DType { f64, f32, f16, bf16, f8_e4m3, f8_e5m2, i64, i32, i16, i8, u64, u32, u16, u8, boolean };

std::size_t dtype_size(DType dtype);       // bytes an element
std::string_view dtype_name(DType dtype);  // as in safetensors: "BF16"
std::optional<DType> parse_dtype(std::string_view safetensors_name);

bool is_floating(DType dtype);

// One element as a float; for checks and tests. Errors: unsupported for types other than f64, f32, f16, bf16.
float load_float(DType dtype, const std::byte* element);

}  // namespace streamline
