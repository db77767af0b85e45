// SPDX-License-Identifier: Apache-2.0
// A block of each type; random ones are compared with the gguf package in tests/oracle/test_gguf.py.
#include "streamline/io/dequantize.h"

#include <cstring>

#include "support/core/expect.h"

namespace streamline {
namespace {

std::vector<float> floats(DType type, const std::vector<std::byte>& bytes) {
  std::vector<float> to(bytes.size() / dtype_block(type).bytes * dtype_block(type).elements);
  dequantize(type, bytes, to);
  return to;
}

struct Vector {
  DType type;
  std::vector<std::size_t> scales;  // where float16 numbers lie: the first is 0.125, the second 0.5
  std::vector<float> expected;      // at kSmall or kLarge
};

constexpr std::size_t kSmall[] = {0, 1, 15, 16, 30, 31}, kLarge[] = {0, 17, 62, 100, 171, 255};

// What gguf 0.19.0 makes of bytes that are 37 i + 11 modulo 256.
std::vector<Vector> vectors() {
  return {
      {DType::q4_0, {0}, {-0.375, 0.25, -1.0, -0.375, -0.375, 0.0}},
      {DType::q4_1, {0, 2}, {2.375, 1.0, 1.75, 1.625, 1.75, 2.0}},
      {DType::q5_0, {0}, {1.125, -0.25, -1.5, 1.75, 1.75, 0.125}},
      {DType::q5_1, {0, 2}, {2.875, 3.5, 4.25, 2.875, 0.875, 1.125}},
      {DType::q8_0, {0}, {10.625, 15.25, -16.0, -11.375, -10.625, -6.0}},
      {DType::q2_k, {80, 82}, {4.125, -1.5, -3.5, -3.625, -3.5, -0.75}},
      {DType::q3_k, {108}, {10.125, 16.0, -5.0, 0.0, -0.0, 5.25}},
      {DType::q4_k, {0, 2}, {17.125, -25.5, -6.5, -3.0, 7.5, -9.25}},
      {DType::q5_k, {0, 2}, {79.125, -25.5, -9.5, 14.5, 202.5, -1.75}},
      {DType::q6_k, {208}, {-178.875, 64.0, -224.75, 315.375, -228.75, -7.5}},
      {DType::iq4_nl, {0}, {-4.375, 3.125, -15.875, -4.375, -4.375, 0.125}},
      {DType::iq4_xs, {0}, {8.125, 4.375, -0.875, 5.0, 43.75, -2.0}},
      {DType::mxfp4, {}, {0.0, 1.5, -0.75, 0.75, 0.75, 1.5}},
  };
}

std::vector<std::byte> pattern(const Vector& vector) {
  std::vector<std::byte> bytes(dtype_block(vector.type).bytes);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 37 + 11);
  for (std::size_t k = 0; k < vector.scales.size(); ++k) {
    bytes[vector.scales[k]] = std::byte{0};
    bytes[vector.scales[k] + 1] = k == 0 ? std::byte{0x30} : std::byte{0x38};
  }
  if (vector.type == DType::mxfp4) bytes[0] = std::byte{126};  // 2^-1
  return bytes;
}

TEST(Dequantize, GivesTheNumbersOfTheReference) {
  for (const Vector& vector : vectors()) {
    const std::vector<float> numbers = floats(vector.type, pattern(vector));
    for (std::size_t k = 0; k < vector.expected.size(); ++k)
      EXPECT_EQ(numbers[numbers.size() == 32 ? kSmall[k] : kLarge[k]], vector.expected[k])
          << dtype_name(vector.type) << " at " << k;
  }
}

TEST(Dequantize, TakesBlocksOneAfterTheOther) {
  for (const Vector& vector : vectors()) {
    std::vector<std::byte> bytes = pattern(vector);
    const std::vector<float> one = floats(vector.type, bytes);
    const std::vector<std::byte> block = bytes;
    for (int i = 0; i < 2; ++i) bytes.insert(bytes.end(), block.begin(), block.end());
    const std::vector<float> three = floats(vector.type, bytes);
    for (std::size_t i = 0; i < three.size(); ++i)
      ASSERT_EQ(three[i], one[i % one.size()]) << dtype_name(vector.type) << " at " << i;
  }
}

// By hand: scale 2, quants 0x1f (low 15, high 1) and 0x80 (low 0, high 8); 15 - 8 = 7, 1 - 8 = -7, 0 - 8 = -8, 0.
TEST(Dequantize, Q40IsScaleTimesQuantLessEight) {
  std::vector<std::byte> block(18, std::byte{0x80});
  block[0] = std::byte{0x00}, block[1] = std::byte{0x40}, block[2] = std::byte{0x1f};
  const std::vector<float> numbers = floats(DType::q4_0, block);
  EXPECT_EQ(numbers[0], 14);
  EXPECT_EQ(numbers[16], -14);
  EXPECT_EQ(numbers[1], -16);
  EXPECT_EQ(numbers[17], 0);
}

// load_float() converts with branches, one number at a time.
TEST(Dequantize, WidensEachHalfPrecisionNumber) {
  std::vector<std::byte> bytes;
  for (int i = 0; i < 0x10000; ++i)
    bytes.insert(bytes.end(), {static_cast<std::byte>(i), static_cast<std::byte>(i >> 8)});
  for (const DType type : {DType::f16, DType::bf16}) {
    const std::vector<float> numbers = floats(type, bytes);
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const float expected = load_float(type, bytes.data() + 2 * i);
      ASSERT_EQ(std::memcmp(&numbers[i], &expected, sizeof expected), 0) << dtype_name(type) << " " << i;
    }
  }
}

TEST(Dequantize, RefusesTypesThatItDoesNotKnow) {
  EXPECT_FALSE(can_dequantize(DType::iq2_xs));
  EXPECT_ERROR(floats(DType::iq2_xs, std::vector<std::byte>(74)), unsupported,
               "tensors of type IQ2_XS cannot be computed with");
}

}  // namespace
}  // namespace streamline
