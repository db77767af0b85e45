// SPDX-License-Identifier: Apache-2.0
#include "streamline/io/dequantize.h"

#include <array>

#include "streamline/base/error.h"
#include "streamline/io/dequantize_blocks.h"

namespace streamline {
namespace {

using blocks::Byte;

void copy_f32(const Byte* from, std::uint64_t count, float* to) { std::memcpy(to, from, count * sizeof(float)); }

SL_INLINE void widen_f16_body(const Byte* __restrict from, std::uint64_t count, float* __restrict to) {
  for (std::uint64_t i = 0; i < count; ++i) to[i] = blocks::half(from + 2 * i);
}
SL_DISPATCH(widen_f16, (const Byte* from, std::uint64_t count, float* to), (from, count, to))

SL_INLINE void widen_bf16_body(const Byte* __restrict from, std::uint64_t count, float* __restrict to) {
  for (std::uint64_t i = 0; i < count; ++i)
    to[i] = std::bit_cast<float>(static_cast<std::uint32_t>(blocks::load_u16(from + 2 * i)) << 16);
}
SL_DISPATCH(widen_bf16, (const Byte* from, std::uint64_t count, float* to), (from, count, to))

// One byte an element: each of the 256 is looked up.
template <DType kType>
void look_up(const Byte* from, std::uint64_t count, float* to) {
  static const std::array<float, 256> table = [] {
    std::array<float, 256> values{};
    for (std::size_t bits = 0; bits < values.size(); ++bits) {
      const auto element = static_cast<std::byte>(bits);
      values[bits] = load_float(kType, &element);
    }
    return values;
  }();
  for (std::uint64_t i = 0; i < count; ++i) to[i] = table[from[i]];
}

struct Row {
  DType dtype;
  blocks::Rows rows;
};

constexpr Row kRows[] = {
    {DType::f32, copy_f32},
    {DType::f16, widen_f16},
    {DType::bf16, widen_bf16},
    {DType::q4_0, blocks::q4_0},
    {DType::q4_1, blocks::q4_1},
    {DType::q5_0, blocks::q5_0},
    {DType::q5_1, blocks::q5_1},
    {DType::q8_0, blocks::q8_0},
    {DType::q2_k, blocks::q2_k},
    {DType::q3_k, blocks::q3_k},
    {DType::q4_k, blocks::q4_k},
    {DType::q5_k, blocks::q5_k},
    {DType::q6_k, blocks::q6_k},
    {DType::iq4_nl, blocks::iq4_nl},
    {DType::iq4_xs, blocks::iq4_xs},
    {DType::mxfp4, blocks::mxfp4},
    {DType::f8_e4m3, look_up<DType::f8_e4m3>},
    {DType::f8_e5m2, look_up<DType::f8_e5m2>},
};

blocks::Rows find_rows(DType dtype) {
  for (const Row& row : kRows)
    if (row.dtype == dtype) return row.rows;
  return nullptr;
}

}  // namespace

bool can_dequantize(DType dtype) { return find_rows(dtype) != nullptr; }

void dequantize(DType dtype, std::span<const std::byte> from, std::span<float> to) {
  const blocks::Rows rows = find_rows(dtype);
  if (rows == nullptr) fail(ErrorKind::unsupported, "tensors of type ", dtype_name(dtype), " cannot be computed with");
  const DTypeBlock block = dtype_block(dtype);
  const std::uint64_t count = to.size() / block.elements;
  SL_ASSERT(to.size() % block.elements == 0 && from.size() == count * block.bytes);
  if (count > 0) rows(reinterpret_cast<const Byte*>(from.data()), count, to.data());
}

}  // namespace streamline
