// SPDX-License-Identifier: Apache-2.0
#include "streamline/io/quantize.h"

#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "streamline/io/dequantize.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

std::vector<std::byte> blocks_of(DType type, const std::vector<float>& numbers, bool fits = true) {
  std::vector<std::byte> bytes(numbers.size() / dtype_block(type).elements * dtype_block(type).bytes);
  EXPECT_EQ(quantize(type, numbers, bytes), fits);
  return bytes;
}

std::vector<float> there_and_back(DType type, const std::vector<float>& numbers) {
  std::vector<float> result(numbers.size());
  dequantize(type, blocks_of(type, numbers), result);
  return result;
}

std::uint16_t half_bits(float number) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, blocks_of(DType::f16, {number}, std::abs(number) < 65520).data(), sizeof bits);
  return bits;
}

TEST(Quantize, KnowsTheTypesThatExportWrites) {
  for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::q8_0, DType::q4_0})
    EXPECT_TRUE(can_quantize(type)) << dtype_name(type);
  EXPECT_FALSE(can_quantize(DType::q4_k));
  std::vector<float> numbers(256);
  std::vector<std::byte> bytes(144);
  EXPECT_ERROR(quantize(DType::q4_k, numbers, bytes), unsupported, "cannot be stored as Q4_K");
}

TEST(Quantize, RoundsHalvesToTheNearestAndTiesToEven) {
  EXPECT_EQ(half_bits(1), 0x3c00);
  EXPECT_EQ(half_bits(-2), 0xc000);
  EXPECT_EQ(half_bits(1 + 0x1p-11f), 0x3c00);             // half a step above 1: the even neighbour is 1
  EXPECT_EQ(half_bits(1 + 3 * 0x1p-11f), 0x3c02);         // a step and a half: the even one is above
  EXPECT_EQ(half_bits(1 + 0x1p-11f + 0x1p-20f), 0x3c01);  // above the middle
  EXPECT_EQ(half_bits(65504), 0x7bff);
  EXPECT_EQ(half_bits(65519), 0x7bff);
  EXPECT_EQ(half_bits(65520), 0x7c00);
  EXPECT_EQ(half_bits(0x1p-24f), 0x0001);
  EXPECT_EQ(half_bits(0x1p-25f), 0x0000);
  EXPECT_EQ(half_bits(3 * 0x1p-25f), 0x0002);
  EXPECT_EQ(half_bits(-0x1p-15f), 0x8200);
  EXPECT_EQ(half_bits(std::nextafter(0x1p-14f, 0.0f)), 0x0400);
}

TEST(Quantize, KeepsEveryHalfThatIsANumber) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    if ((bits & 0x7c00) == 0x7c00) continue;
    const auto stored = static_cast<std::uint16_t>(bits);
    float number = 0;
    dequantize(DType::f16, std::as_bytes(std::span(&stored, 1)), std::span(&number, 1));
    ASSERT_EQ(half_bits(number), bits);
  }
}

// Steps of 1 when the largest is 127; 63.5 steps are rounded away from zero.
TEST(Quantize, StoresTheScaleAndSignedStepsInQ8) {
  std::vector<float> numbers(32, 0);
  numbers[0] = 254, numbers[1] = -127, numbers[2] = 1, numbers[3] = 0.99f, numbers[31] = -254;
  const std::vector<std::byte> bytes = blocks_of(DType::q8_0, numbers);
  EXPECT_EQ(bytes[0], std::byte{0x00});  // 2.0 in half precision
  EXPECT_EQ(bytes[1], std::byte{0x40});
  EXPECT_EQ(static_cast<std::int8_t>(bytes[2]), 127);
  EXPECT_EQ(static_cast<std::int8_t>(bytes[3]), -64);
  EXPECT_EQ(static_cast<std::int8_t>(bytes[4]), 1);
  EXPECT_EQ(static_cast<std::int8_t>(bytes[5]), 0);
  EXPECT_EQ(static_cast<std::int8_t>(bytes[33]), -127);
}

// The element farthest from zero is -8 steps, so that 8 steps of the other sign do not exist.
TEST(Quantize, StoresTheScaleAndNibblesInQ4) {
  std::vector<float> numbers(32, 0);
  numbers[0] = -8, numbers[1] = 8, numbers[2] = 3, numbers[16] = -1.5f, numbers[31] = 7;
  const std::vector<std::byte> bytes = blocks_of(DType::q4_0, numbers);
  EXPECT_EQ(bytes[0], std::byte{0x00});  // 1.0
  EXPECT_EQ(bytes[1], std::byte{0x3c});
  EXPECT_EQ(bytes[2], std::byte{0x70});   // -8 and -1.5 + 8.5
  EXPECT_EQ(bytes[3], std::byte{0x8f});   // 8 is cut to 7
  EXPECT_EQ(bytes[4], std::byte{0x8b});   // 3
  EXPECT_EQ(bytes[17], std::byte{0xf8});  // 0 and 7
}

TEST(Quantize, IsWithinHalfAStep) {
  std::vector<float> numbers(320);
  for (std::size_t i = 0; i < numbers.size(); ++i)
    numbers[i] = std::sin(static_cast<float>(i)) * std::exp(static_cast<float>(i % 7) - 3);
  const auto largest = [&](std::size_t block) {
    float found = 0;
    for (std::size_t i = 0; i < 32; ++i) found = std::max(found, std::abs(numbers[block * 32 + i]));
    return found;
  };
  const std::vector<float> q8 = there_and_back(DType::q8_0, numbers), q4 = there_and_back(DType::q4_0, numbers);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    EXPECT_LE(std::abs(q8[i] - numbers[i]), largest(i / 32) / 127 * 0.56f) << i;  // and the scale's own rounding
    EXPECT_LE(std::abs(q4[i] - numbers[i]), largest(i / 32) / 8 * 1.01f) << i;    // 8 steps up are cut to 7
  }
}

TEST(Quantize, OfZerosIsZeros) {
  for (const DType type : {DType::q8_0, DType::q4_0})
    EXPECT_EQ(there_and_back(type, std::vector<float>(64, 0)), std::vector<float>(64, 0)) << dtype_name(type);
}

TEST(Quantize, OfManyNumbersIsThatOfEach) {
  std::vector<float> numbers(1001);
  for (std::size_t i = 0; i < numbers.size(); ++i)
    numbers[i] = std::sin(static_cast<float>(i)) * std::exp2(static_cast<float>(i % 60) - 44);
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    std::vector<std::byte> each;
    for (const float number : numbers) {
      const std::vector<std::byte> bytes = blocks_of(type, {number});
      each.insert(each.end(), bytes.begin(), bytes.end());
    }
    EXPECT_EQ(blocks_of(type, numbers), each) << dtype_name(type);
    std::vector<float> large = numbers;
    large[500] = 3.4e38f;
    blocks_of(type, large, /*fits=*/type == DType::f32);
  }
}

TEST(Quantize, SaysWhenANumberIsTooLarge) {
  blocks_of(DType::f16, {7e4f}, /*fits=*/false);
  blocks_of(DType::bf16, {3.4e38f}, /*fits=*/false);
  blocks_of(DType::q8_0, std::vector<float>(32, 1e7f), /*fits=*/false);
  blocks_of(DType::q4_0, std::vector<float>(32, 1e6f), /*fits=*/false);
  blocks_of(DType::q8_0, std::vector<float>(32, 7e4f));
}

}  // namespace
}  // namespace streamline
