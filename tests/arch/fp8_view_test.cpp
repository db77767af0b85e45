// SPDX-License-Identifier: Apache-2.0
// FP8 matrices as numbers: each element times the factor of its block, row or matrix.
#include "streamline/arch/fp8_view.h"

#include "streamline/io/tensor_values.h"
#include "support/core/expect.h"
#include "support/core/tensor_files.h"

namespace streamline::test {
namespace {

// 3 x 4 of E4M3: 1, 2, 4 and 8 in each row.
TestTensor matrix() {
  TestTensor tensor{{"a.weight", DType::f8_e4m3, {3, 4}}, {}};
  for (int row = 0; row < 3; ++row)
    for (const char bits : {0x38, 0x40, 0x48, 0x50}) tensor.data += bits;
  return tensor;
}

TestTensor factors(const std::string& suffix, std::vector<std::int64_t> shape, const std::vector<float>& values) {
  TestTensor tensor{{"a.weight" + suffix, DType::f32, std::move(shape)}, {}};
  for (const float value : values) tensor.data += element(DType::f32, value);
  return tensor;
}

std::shared_ptr<const Checkpoint> with(const TestTensor& scales, const Json& quantization = Json::object()) {
  const Json config = {{"quantization_config", quantization}};
  return Checkpoint::open(memory_files(
      "m", {{"config.json", dump_json(config)}, {"model.safetensors", safetensors_file({scales, matrix()})}}));
}

std::vector<float> values(const std::shared_ptr<const Checkpoint>& checkpoint, std::int64_t first, std::int64_t count) {
  const auto view = fp8_view(checkpoint);
  const TensorInfo& tensor = view->at("a.weight");
  EXPECT_FALSE(tensor.is_plain());
  std::vector<float> rows(static_cast<std::size_t>(4 * count));
  read_rows(*view, tensor, first, count, rows);
  return rows;
}

// Blocks of 2 x 3 leave a row and a column over.
TEST(Fp8View, MultipliesByTheFactorOfTheBlock) {
  const auto checkpoint = with(factors("_scale_inv", {2, 2}, {10, 100, 0.5F, 3}), {{"weight_block_size", {2, 3}}});
  EXPECT_EQ(values(checkpoint, 0, 3), (std::vector<float>{10, 20, 40, 800, 10, 20, 40, 800, 0.5F, 1, 2, 24}));
  EXPECT_EQ(values(checkpoint, 2, 1), (std::vector<float>{0.5F, 1, 2, 24}));
}

TEST(Fp8View, MultipliesByTheFactorOfTheRowOrTheMatrix) {
  const std::vector<float> by_row = {1, 2, 4, 8, 2, 4, 8, 16, 3, 6, 12, 24};
  EXPECT_EQ(values(with(factors("_scale", {3, 1}, {1, 2, 3})), 0, 3), by_row);
  EXPECT_EQ(values(with(factors("_scale", {3}, {1, 2, 3})), 0, 3), by_row);
  EXPECT_EQ(values(with(factors("_scale", {}, {2})), 1, 1), (std::vector<float>{2, 4, 8, 16}));
  EXPECT_EQ(values(with(factors("_scale_inv", {1, 1}, {2})), 1, 1), (std::vector<float>{2, 4, 8, 16}));
}

TEST(Fp8View, TakesTheBlocksOfCompressedTensors) {
  const Json described = {{"config_groups", {{"group_0", {{"weights", {{"block_structure", {2, 3}}}}}}}}};
  EXPECT_EQ(values(with(factors("_scale", {2, 2}, {1, 2, 3, 4}), described), 2, 1), (std::vector<float>{3, 6, 12, 32}));
}

TEST(Fp8View, KeepsNamesBytesAndDigest) {
  const auto checkpoint = with(factors("_scale", {3, 1}, {1, 2, 3}));
  const auto view = fp8_view(checkpoint);
  EXPECT_EQ(view->digest(), checkpoint->digest());
  EXPECT_EQ(view->tensors().size(), 2u);
  EXPECT_TRUE(checkpoint->at("a.weight").is_plain());
}

TEST(Fp8View, RefusesFactorsThatDoNotFit) {
  const Json blocks = {{"weight_block_size", {2, 3}}};
  EXPECT_ERROR(fp8_view(with(factors("_scale_inv", {2, 1}, {1, 1}), blocks)), mismatch,
               "'a.weight_scale_inv' is [2,1]; 'a.weight' is [3,4] and config.json says in blocks of 2 x 3");
  EXPECT_ERROR(fp8_view(with(factors("_scale_inv", {2, 2}, {1, 1, 1, 1}))), mismatch, "no block size");
  EXPECT_ERROR(fp8_view(with(factors("_scale_inv", {2, 2}, {1, 1, 1, 1}), {{"weight_block_size", {2, -3}}})), format,
               "'weight_block_size' is [2,-3]");
  EXPECT_ERROR(fp8_view(with(filled("a.weight_scale_inv", DType::i32, {1}), blocks)), unsupported, "is I32");
  EXPECT_FALSE(is_fp8(*with(filled("b.weight_scale", DType::f32, {1}))));  // of no matrix
}

}  // namespace
}  // namespace streamline::test
