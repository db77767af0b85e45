// SPDX-License-Identifier: Apache-2.0
#include "streamline/io/dtype.h"

#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>

#include "streamline/base/error.h"

namespace streamline {
namespace {

struct DTypeRow {
  DType dtype;
  std::string_view name;
  std::size_t size;
  bool floating;
};

constexpr DTypeRow kDTypes[] = {
    {DType::f64, "F64", 8, true},   {DType::f32, "F32", 4, true},         {DType::f16, "F16", 2, true},
    {DType::bf16, "BF16", 2, true}, {DType::f8_e4m3, "F8_E4M3", 1, true}, {DType::f8_e5m2, "F8_E5M2", 1, true},
    {DType::i64, "I64", 8, false},  {DType::i32, "I32", 4, false},        {DType::i16, "I16", 2, false},
    {DType::i8, "I8", 1, false},    {DType::u64, "U64", 8, false},        {DType::u32, "U32", 4, false},
    {DType::u16, "U16", 2, false},  {DType::u8, "U8", 1, false},          {DType::boolean, "BOOL", 1, false},
};

const DTypeRow& row(DType dtype) {
  const auto index = static_cast<std::size_t>(dtype);
  SL_ASSERT(index < std::size(kDTypes) && kDTypes[index].dtype == dtype);
  return kDTypes[index];
}

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction bits.
float half_to_float(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fu;
  const std::uint32_t fraction = bits & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (fraction << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
  const float magnitude = static_cast<float>(fraction) * 0x1p-24f;  // zero and subnormals
  return sign != 0 ? -magnitude : magnitude;
}

}  // namespace

std::size_t dtype_size(DType dtype) { return row(dtype).size; }
std::string_view dtype_name(DType dtype) { return row(dtype).name; }
bool is_floating(DType dtype) { return row(dtype).floating; }

std::optional<DType> parse_dtype(std::string_view safetensors_name) {
  for (const DTypeRow& candidate : kDTypes)
    if (candidate.name == safetensors_name) return candidate.dtype;
  return std::nullopt;
}

float load_float(DType dtype, const std::byte* element) {
  switch (dtype) {
    case DType::f64:
      return static_cast<float>(load<double>(element));
    case DType::f32:
      return load<float>(element);
    case DType::f16:
      return half_to_float(load<std::uint16_t>(element));
    case DType::bf16:
      return std::bit_cast<float>(static_cast<std::uint32_t>(load<std::uint16_t>(element)) << 16);
    default:
      fail(ErrorKind::unsupported, "cannot read ", dtype_name(dtype), " elements as numbers");
  }
}

}  // namespace streamline
