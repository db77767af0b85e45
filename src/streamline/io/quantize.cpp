// SPDX-License-Identifier: Apache-2.0
// Products and quotients are rounded one by one, as NumPy does: compiled without contraction to fused multiply-adds.
#include "streamline/io/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "streamline/base/error.h"
#include "streamline/base/simd.h"
#include "streamline/io/half.h"

namespace streamline {
namespace {

using Byte = std::uint8_t;
constexpr std::uint64_t kBlock = 32;  // elements of Q8_0 and Q4_0

// Returns whether the number stayed finite.
SL_INLINE bool store_half(float value, Byte* to) {
  const std::uint16_t half = float_to_half(value);
  std::memcpy(to, &half, sizeof half);
  return (half & kHalfInfinity) != kHalfInfinity;
}

SL_INLINE float inverse(float scale) { return scale == 0 ? 0 : 1 / scale; }

// The scale, then a signed byte an element.
SL_INLINE bool q8_0_block(const float* from, Byte* to) {
  constexpr float kBelowHalf = 0x1.fffffep-2f;
  std::uint32_t largest = 0;  // magnitudes are ordered as their bits
  for (std::uint64_t i = 0; i < kBlock; ++i)
    largest = std::max(largest, std::bit_cast<std::uint32_t>(from[i]) & 0x7fffffffu);
  const float scale = std::bit_cast<float>(largest) / 127;
  const float factor = inverse(scale);
  for (std::uint64_t i = 0; i < kBlock; ++i) {
    const float steps = from[i] * factor;  // 127 at most, where this rounds as std::round() does
    const float rounded = std::trunc(steps + std::copysign(kBelowHalf, steps));
    to[2 + i] = static_cast<Byte>(static_cast<std::int8_t>(std::clamp(rounded, -128.0f, 127.0f)));
  }
  return store_half(scale, to);
}

// The scale that makes -8 of the element farthest from zero, then a nibble an element, the lower ones of both halves
// of the block first.
SL_INLINE bool q4_0_block(const float* from, Byte* to) {
  const float extreme =
      *std::max_element(from, from + kBlock, [](float a, float b) { return std::abs(a) < std::abs(b); });
  const float scale = extreme / -8;
  const float factor = inverse(scale);
  const auto steps = [&](std::uint64_t i) {
    return static_cast<Byte>(std::clamp(std::trunc(from[i] * factor + 8.5f), 0.0f, 15.0f));
  };
  constexpr std::uint64_t kHalf = kBlock / 2;
  for (std::uint64_t i = 0; i < kHalf; ++i) to[2 + i] = static_cast<Byte>(steps(i) | steps(kHalf + i) << 4);
  return store_half(scale, to);
}

// Loops over `count` blocks, of one element in plain types. `good` becomes false where a number is beyond the type.
void f32_rows(const float* from, std::uint64_t count, Byte* to, bool&) { std::memcpy(to, from, count * sizeof *from); }

SL_INLINE void f16_rows_body(const float* __restrict from, std::uint64_t count, Byte* __restrict to, bool& good) {
  std::uint32_t infinite = 0;
  for (std::uint64_t i = 0; i < count; ++i) infinite |= static_cast<std::uint32_t>(!store_half(from[i], to + 2 * i));
  good = good && infinite == 0;
}

SL_INLINE void bf16_rows_body(const float* __restrict from, std::uint64_t count, Byte* __restrict to, bool& good) {
  std::uint32_t infinite = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    simd::Bf16 bits = 0;
    simd::store(&bits, from[i]);
    std::memcpy(to + 2 * i, &bits, sizeof bits);
    infinite |= static_cast<std::uint32_t>((bits & 0x7f80u) == 0x7f80u);
  }
  good = good && infinite == 0;
}

SL_INLINE void q8_0_rows_body(const float* from, std::uint64_t count, Byte* to, bool& good) {
  for (std::uint64_t i = 0; i < count; ++i) good &= q8_0_block(from + i * kBlock, to + i * 34);
}

SL_INLINE void q4_0_rows_body(const float* from, std::uint64_t count, Byte* to, bool& good) {
  for (std::uint64_t i = 0; i < count; ++i) good &= q4_0_block(from + i * kBlock, to + i * 18);
}

#define SL_QUANTIZE_ROWS(name) \
  SL_DISPATCH(name, (const float* from, std::uint64_t count, Byte* to, bool& good), (from, count, to, good))
SL_QUANTIZE_ROWS(f16_rows)
SL_QUANTIZE_ROWS(bf16_rows)
SL_QUANTIZE_ROWS(q8_0_rows)
SL_QUANTIZE_ROWS(q4_0_rows)

using StoreRows = void (*)(const float* from, std::uint64_t count, Byte* to, bool& good);
struct Row {
  DType dtype;
  StoreRows store;
};
constexpr Row kRows[] = {{DType::f32, f32_rows},
                         {DType::f16, f16_rows},
                         {DType::bf16, bf16_rows},
                         {DType::q8_0, q8_0_rows},
                         {DType::q4_0, q4_0_rows}};

StoreRows find_store(DType dtype) {
  for (const Row& row : kRows)
    if (row.dtype == dtype) return row.store;
  return nullptr;
}

}  // namespace

bool can_quantize(DType dtype) { return find_store(dtype) != nullptr; }

bool quantize(DType dtype, std::span<const float> from, std::span<std::byte> to) {
  const StoreRows store = find_store(dtype);
  if (store == nullptr) fail(ErrorKind::unsupported, "numbers cannot be stored as ", dtype_name(dtype));
  const DTypeBlock block = dtype_block(dtype);
  const std::uint64_t count = from.size() / block.elements;
  SL_ASSERT(from.size() % block.elements == 0 && to.size() == count * block.bytes);
  bool good = true;
  if (count > 0) store(from.data(), count, reinterpret_cast<Byte*>(to.data()), good);
  return good;
}

}  // namespace streamline
