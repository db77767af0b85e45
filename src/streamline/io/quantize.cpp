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

namespace streamline {
namespace {

using Byte = std::uint8_t;
constexpr std::uint64_t kBlock = 32;  // elements of Q8_0 and Q4_0
constexpr std::uint16_t kInfinity = 0x7c00;

// IEEE 754 binary16, to the nearest, ties to even.
std::uint16_t to_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  std::uint32_t half = kInfinity;
  if (magnitude < 0x38800000u) {  // below 2^-14: a multiple of 2^-24, which the sum rounds to
    half = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - std::bit_cast<std::uint32_t>(0.5f);
  } else if (magnitude < 0x47800000u) {  // below 2^16; rounding may carry into the exponent, up to infinity
    half = (magnitude - (112u << 23) + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  }
  return static_cast<std::uint16_t>(sign | half);
}

// Returns whether the number stayed finite.
bool store_half(float value, Byte* to) {
  const std::uint16_t half = to_half(value);
  std::memcpy(to, &half, sizeof half);
  return (half & kInfinity) != kInfinity;
}

float inverse(float scale) { return scale == 0 ? 0 : 1 / scale; }

// The scale, then a signed byte an element.
bool q8_0_block(const float* from, Byte* to) {
  float largest = 0;
  for (std::uint64_t i = 0; i < kBlock; ++i) largest = std::max(largest, std::abs(from[i]));
  const float scale = largest / 127;
  const float factor = inverse(scale);
  for (std::uint64_t i = 0; i < kBlock; ++i) {
    const auto steps = static_cast<std::int8_t>(std::clamp(std::round(from[i] * factor), -128.0f, 127.0f));
    to[2 + i] = static_cast<Byte>(steps);
  }
  return store_half(scale, to);
}

// The scale that makes -8 of the element farthest from zero, then a nibble an element, the lower ones of both halves
// of the block first.
bool q4_0_block(const float* from, Byte* to) {
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

bool f16_block(const float* from, Byte* to) { return store_half(*from, to); }

bool f32_block(const float* from, Byte* to) {
  std::memcpy(to, from, sizeof *from);
  return true;
}

bool bf16_block(const float* from, Byte* to) {
  simd::Bf16 bits = 0;
  simd::store(&bits, *from);
  std::memcpy(to, &bits, sizeof bits);
  return (bits & 0x7f80u) != 0x7f80u;
}

using StoreBlock = bool (*)(const float* from, Byte* to);
struct Row {
  DType dtype;
  StoreBlock store;
};
constexpr Row kRows[] = {{DType::f32, f32_block},
                         {DType::f16, f16_block},
                         {DType::bf16, bf16_block},
                         {DType::q8_0, q8_0_block},
                         {DType::q4_0, q4_0_block}};

StoreBlock find_block(DType dtype) {
  for (const Row& row : kRows)
    if (row.dtype == dtype) return row.store;
  return nullptr;
}

}  // namespace

bool can_quantize(DType dtype) { return find_block(dtype) != nullptr; }

bool quantize(DType dtype, std::span<const float> from, std::span<std::byte> to) {
  const StoreBlock store = find_block(dtype);
  if (store == nullptr) fail(ErrorKind::unsupported, "numbers cannot be stored as ", dtype_name(dtype));
  const DTypeBlock block = dtype_block(dtype);
  const std::uint64_t count = from.size() / block.elements;
  SL_ASSERT(from.size() % block.elements == 0 && to.size() == count * block.bytes);
  auto* out = reinterpret_cast<Byte*>(to.data());
  bool good = true;
  for (std::uint64_t i = 0; i < count; ++i) good &= store(from.data() + i * block.elements, out + i * block.bytes);
  return good;
}

}  // namespace streamline
