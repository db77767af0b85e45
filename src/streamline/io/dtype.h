// SPDX-License-Identifier: Apache-2.0
// Element types of stored tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace streamline {

// The first line is what safetensors stores, an element at a time; the rest are GGUF's, which quantise a block of
// neighbouring elements of a row together.
// clang-format off
enum class DType {
  f64, f32, f16, bf16, f8_e4m3, f8_e5m2, f8_e8m0, c64, i64, i32, i16, i8, u64, u32, u16, u8, boolean,
  q4_0, q4_1, q5_0, q5_1, q8_0, q8_1, q2_k, q3_k, q4_k, q5_k, q6_k, q8_k, iq4_nl, iq4_xs, mxfp4,
  iq1_s, iq1_m, iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s, tq1_0, tq2_0, nvfp4, q1_0,
};
// clang-format on

// What is stored together: one element, or a quantised block of them.
struct DTypeBlock {
  std::uint64_t elements = 1, bytes = 0;
};
DTypeBlock dtype_block(DType dtype);
bool is_quantised(DType dtype);            // in blocks of more than one element
std::size_t dtype_size(DType dtype);       // bytes an element, of a type that is not quantised
std::string_view dtype_name(DType dtype);  // "BF16", "Q4_K"
// Types that are not quantised, by safetensors' names.
std::optional<DType> parse_dtype(std::string_view safetensors_name);

bool is_floating(DType dtype);  // quantised types too: their elements are numbers with a fraction

// One element as a float; for checks and tests. Errors: unsupported for types other than f64, f32, f16, bf16, f8_e4m3,
// f8_e5m2.
float load_float(DType dtype, const std::byte* element);

}  // namespace streamline
