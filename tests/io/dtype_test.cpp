// SPDX-License-Identifier: Apache-2.0
#include "streamline/io/dtype.h"

#include <cmath>

#include "streamline/io/dtype_word.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

TEST(DType, NamesAreReadBack) {
  for (int i = 0; i <= static_cast<int>(DType::boolean); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(parse_dtype(dtype_name(dtype)), dtype);
    EXPECT_GE(dtype_size(dtype), 1u);
  }
  EXPECT_EQ(parse_dtype("bf16"), std::nullopt);
  EXPECT_EQ(dtype_size(DType::bf16), 2u);
  EXPECT_TRUE(is_floating(DType::f8_e4m3));
  EXPECT_FALSE(is_floating(DType::boolean));
}

TEST(DType, WordsAreThoseOfConfigJson) {
  EXPECT_EQ(dtype_word(DType::f32), "float32");
  EXPECT_EQ(dtype_word(DType::bf16), "bfloat16");
  EXPECT_EQ(dtype_word(DType::q4_k), "Q4_K");
}

TEST(DType, QuantisedTypesAreBlocksThatSafetensorsDoesNotKnow) {
  for (int i = static_cast<int>(DType::boolean) + 1; i <= static_cast<int>(DType::q1_0); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_TRUE(is_quantised(dtype)) << dtype_name(dtype);
    EXPECT_EQ(parse_dtype(dtype_name(dtype)), std::nullopt);
    EXPECT_ERROR(dtype_size(dtype), internal, "is_quantised");
  }
  EXPECT_EQ(dtype_block(DType::q4_k).bytes, 144u);  // 256 nibbles, 12 bytes of scales, two float16
  EXPECT_EQ(dtype_block(DType::q4_k).elements, 256u);
  EXPECT_EQ(dtype_block(DType::bf16).elements, 1u);
}

float f16(unsigned bits) {
  const std::byte bytes[2] = {std::byte(bits & 0xff), std::byte(bits >> 8)};
  return load_float(DType::f16, bytes);
}

// Values of IEEE 754 binary16 from its definition.
TEST(DType, WidensHalfPrecision) {
  EXPECT_EQ(f16(0x3c00), 1.0f);
  EXPECT_EQ(f16(0xc000), -2.0f);
  EXPECT_EQ(f16(0x7bff), 65504.0f);
  EXPECT_EQ(f16(0x0001), std::ldexp(1.0f, -24));
  EXPECT_EQ(f16(0x03ff), std::ldexp(1023.0f, -24));
  EXPECT_EQ(f16(0x0400), std::ldexp(1.0f, -14));
  EXPECT_TRUE(std::signbit(f16(0x8000)));
  EXPECT_TRUE(std::isinf(f16(0x7c00)));
  EXPECT_TRUE(std::isnan(f16(0x7e01)));
}

TEST(DType, WidensBfloat16ByItsUpperHalf) {
  const std::byte bytes[2] = {std::byte{0x49}, std::byte{0x40}};
  EXPECT_EQ(load_float(DType::bf16, bytes), 3.140625f);
}

// Values of the two 8-bit formats from their definition (arXiv 2209.05433); E4M3 without infinities.
TEST(DType, WidensEightBits) {
  const auto e4m3 = [](unsigned bits) {
    const auto element = static_cast<std::byte>(bits);
    return load_float(DType::f8_e4m3, &element);
  };
  const auto e5m2 = [](unsigned bits) {
    const auto element = static_cast<std::byte>(bits);
    return load_float(DType::f8_e5m2, &element);
  };
  EXPECT_EQ(e4m3(0x38), 1.0f);
  EXPECT_EQ(e4m3(0xc1), -2.25f);
  EXPECT_EQ(e4m3(0x7e), 448.0f);
  EXPECT_EQ(e4m3(0x01), std::ldexp(1.0f, -9));
  EXPECT_EQ(e4m3(0x08), std::ldexp(1.0f, -6));
  EXPECT_TRUE(std::signbit(e4m3(0x80)));
  EXPECT_TRUE(std::isnan(e4m3(0x7f)));
  EXPECT_TRUE(std::isnan(e4m3(0xff)));
  EXPECT_EQ(e5m2(0x3c), 1.0f);
  EXPECT_EQ(e5m2(0x7b), 57344.0f);
  EXPECT_EQ(e5m2(0x01), std::ldexp(1.0f, -16));
  EXPECT_TRUE(std::isinf(e5m2(0xfc)));
  EXPECT_TRUE(std::isnan(e5m2(0x7d)));
}

TEST(DType, RefusesToReadIntegersAsNumbers) {
  const std::byte bytes[8] = {};
  EXPECT_ERROR(load_float(DType::i64, bytes), unsupported, "I64");
}

}  // namespace
}  // namespace streamline
