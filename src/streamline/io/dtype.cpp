// SPDX-License-Identifier: Apache-2.0
#include "streamline/io/dtype.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "streamline/base/error.h"
#include "streamline/io/half.h"
#include "streamline/io/load_value.h"

namespace streamline {
namespace {

struct DTypeRow {
  DType dtype;
  std::string_view name;
  DTypeBlock block;
  bool floating;
};

constexpr DTypeRow kDTypes[] = {
    {DType::f64, "F64", {1, 8}, true},
    {DType::f32, "F32", {1, 4}, true},
    {DType::f16, "F16", {1, 2}, true},
    {DType::bf16, "BF16", {1, 2}, true},
    {DType::f8_e4m3, "F8_E4M3", {1, 1}, true},
    {DType::f8_e5m2, "F8_E5M2", {1, 1}, true},
    {DType::f8_e8m0, "F8_E8M0", {1, 1}, true},
    {DType::c64, "C64", {1, 8}, true},
    {DType::i64, "I64", {1, 8}, false},
    {DType::i32, "I32", {1, 4}, false},
    {DType::i16, "I16", {1, 2}, false},
    {DType::i8, "I8", {1, 1}, false},
    {DType::u64, "U64", {1, 8}, false},
    {DType::u32, "U32", {1, 4}, false},
    {DType::u16, "U16", {1, 2}, false},
    {DType::u8, "U8", {1, 1}, false},
    {DType::boolean, "BOOL", {1, 1}, false},
    {DType::q4_0, "Q4_0", {32, 18}, true},
    {DType::q4_1, "Q4_1", {32, 20}, true},
    {DType::q5_0, "Q5_0", {32, 22}, true},
    {DType::q5_1, "Q5_1", {32, 24}, true},
    {DType::q8_0, "Q8_0", {32, 34}, true},
    {DType::q8_1, "Q8_1", {32, 40}, true},
    {DType::q2_k, "Q2_K", {256, 84}, true},
    {DType::q3_k, "Q3_K", {256, 110}, true},
    {DType::q4_k, "Q4_K", {256, 144}, true},
    {DType::q5_k, "Q5_K", {256, 176}, true},
    {DType::q6_k, "Q6_K", {256, 210}, true},
    {DType::q8_k, "Q8_K", {256, 292}, true},
    {DType::iq4_nl, "IQ4_NL", {32, 18}, true},
    {DType::iq4_xs, "IQ4_XS", {256, 136}, true},
    {DType::mxfp4, "MXFP4", {32, 17}, true},
    {DType::iq1_s, "IQ1_S", {256, 50}, true},
    {DType::iq1_m, "IQ1_M", {256, 56}, true},
    {DType::iq2_xxs, "IQ2_XXS", {256, 66}, true},
    {DType::iq2_xs, "IQ2_XS", {256, 74}, true},
    {DType::iq2_s, "IQ2_S", {256, 82}, true},
    {DType::iq3_xxs, "IQ3_XXS", {256, 98}, true},
    {DType::iq3_s, "IQ3_S", {256, 110}, true},
    {DType::tq1_0, "TQ1_0", {256, 54}, true},
    {DType::tq2_0, "TQ2_0", {256, 66}, true},
    {DType::nvfp4, "NVFP4", {64, 36}, true},
    {DType::q1_0, "Q1_0", {128, 18}, true},
};

const DTypeRow& row(DType dtype) {
  const auto index = static_cast<std::size_t>(dtype);
  SL_ASSERT(index < std::size(kDTypes) && kDTypes[index].dtype == dtype);
  return kDTypes[index];
}

// 1 sign, 4 exponent, 3 fraction bits; no infinities, and only all ones is NaN ("fn").
float e4m3_to_float(std::uint8_t bits) {
  const int exponent = bits >> 3 & 0xf, fraction = bits & 7;
  float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -9)
                                  : std::ldexp(static_cast<float>(8 + fraction), exponent - 10);
  if ((bits & 0x7f) == 0x7f) magnitude = std::numeric_limits<float>::quiet_NaN();
  return (bits & 0x80) != 0 ? -magnitude : magnitude;
}

}  // namespace

DTypeBlock dtype_block(DType dtype) { return row(dtype).block; }
bool is_quantised(DType dtype) { return row(dtype).block.elements > 1; }
std::size_t dtype_size(DType dtype) {
  SL_ASSERT(!is_quantised(dtype));
  return row(dtype).block.bytes;
}
std::string_view dtype_name(DType dtype) { return row(dtype).name; }
bool is_floating(DType dtype) { return row(dtype).floating; }

std::optional<DType> parse_dtype(std::string_view safetensors_name) {
  for (const DTypeRow& candidate : kDTypes)
    if (candidate.name == safetensors_name && candidate.block.elements == 1) return candidate.dtype;
  return std::nullopt;
}

float load_float(DType dtype, const std::byte* element) {
  switch (dtype) {
    case DType::f64:
      return static_cast<float>(load_value<double>(element));
    case DType::f32:
      return load_value<float>(element);
    case DType::f16:
      return half_to_float(load_value<std::uint16_t>(element));
    case DType::bf16:
      return std::bit_cast<float>(static_cast<std::uint32_t>(load_value<std::uint16_t>(element)) << 16);
    case DType::f8_e4m3:
      return e4m3_to_float(load_value<std::uint8_t>(element));
    case DType::f8_e5m2:  // the upper half of a binary16
      return half_to_float(static_cast<std::uint16_t>(load_value<std::uint8_t>(element) << 8));
    default:
      fail(ErrorKind::unsupported, "cannot read ", dtype_name(dtype), " elements as numbers");
  }
}

}  // namespace streamline
