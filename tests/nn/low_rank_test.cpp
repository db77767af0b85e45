// SPDX-License-Identifier: Apache-2.0
// Low-rank updates beside matrices, and matrices in 4-bit NormalFloat.
#include "streamline/nn/linear.h"
#include "streamline/nn/nf4.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

RoleTensors matrix_with_update(double dropout = 0) {
  torch::manual_seed(1);
  const auto type = torch::TensorOptions(torch::kFloat64);
  return {
      torch::randn({6, 5}, type),
      torch::randn({6}, type),
      {.a = torch::randn({2, 5}, type), .b = torch::randn({6, 2}, type), .scale = 0.5, .dropout = dropout, .seed = 7}};
}

torch::Tensor whole(const RoleTensors& m) { return m.weight + 0.5 * m.low_rank.b.mm(m.low_rank.a); }

TEST(LowRank, AddsToEveryProductWhatItsMatrixWould) {
  const RoleTensors m = matrix_with_update();
  const auto x = torch::randn({2, 3, 5}, torch::kFloat64), residual = torch::randn({2, 3, 6}, torch::kFloat64);
  const auto expected = torch::linear(x, whole(m), m.bias);
  EXPECT_TRUE(torch::allclose(linear(x, m), expected));
  EXPECT_TRUE(torch::allclose(add_linear(residual.clone(), x, m, Reuse::yes, 0.3), residual + 0.3 * expected));
  EXPECT_TRUE(torch::allclose(linear(x, rows(m, 2, 3)), expected.narrow(-1, 2, 3)));
}

TEST(LowRank, MergesIntoItsMatrix) {
  const RoleTensors m = matrix_with_update();
  EXPECT_TRUE(torch::allclose(merged(m.weight.to(torch::kFloat32), m.low_rank), whole(m).to(torch::kFloat32)));
  EXPECT_EQ(merged(m.weight.to(torch::kBFloat16), m.low_rank).scalar_type(), torch::kBFloat16);
}

TEST(LowRank, DropsTheSameForTheSameSeedAndNothingOnAverage) {
  RoleTensors m = matrix_with_update(0.25);
  const auto x = torch::ones({20000, 5}, torch::kFloat64);
  const auto once = low_rank_update(x, m.low_rank), again = low_rank_update(x, m.low_rank);
  EXPECT_TRUE(torch::equal(once, again));
  m.low_rank.seed = 8;
  EXPECT_FALSE(torch::equal(once, low_rank_update(x, m.low_rank)));
  m.low_rank.dropout = 0;
  const auto mean = once.mean(0), expected = low_rank_update(x.narrow(0, 0, 1), m.low_rank).squeeze(0);
  EXPECT_LT((mean - expected).abs().max().item<double>(), 0.05);  // of 20,000 rows, each with a deviation near 1
}

// What bitsandbytes gives for these values: the nearest of its sixteen, times the block's largest.
TEST(Nf4, RoundsToTheNearestOfItsValuesTimesTheLargestOfTheBlock) {
  auto matrix = torch::zeros({2, 64}, torch::kFloat32);
  matrix[0][0] = 2;
  matrix[0][1] = -2;
  matrix[0][2] = 0.17;   // 0.085 of 2: 0.0796 is nearest
  matrix[0][3] = -1.25;  // -0.625: -0.6962 is nearest by 0.0712, -0.5251 by 0.0999
  matrix[0][4] = 0.03;   // 0.015: 0 is nearest
  matrix[1][0] = -0.5;
  const Nf4Matrix packed = quantise_nf4(matrix);
  EXPECT_EQ(packed.codes.numel(), 64);
  EXPECT_EQ(packed.largest.numel(), 2);
  EXPECT_EQ(packed.codes[0].item<int>(), 15 * 16 + 0);
  const auto back = dequantise(packed, torch::kFloat32);
  EXPECT_FLOAT_EQ(back[0][0].item<float>(), 2);
  EXPECT_FLOAT_EQ(back[0][1].item<float>(), -2);
  EXPECT_FLOAT_EQ(back[0][2].item<float>(), 2 * 0.07958029955625534F);
  EXPECT_FLOAT_EQ(back[0][3].item<float>(), 2 * -0.6961928009986877F);
  EXPECT_EQ(back[0][4].item<float>(), 0);
  EXPECT_FLOAT_EQ(back[1][0].item<float>(), -0.5);
  EXPECT_EQ(back[1][1].item<float>(), 0);
}

TEST(Nf4, TakesMatricesThatAreNoMultipleOfItsBlock) {
  torch::manual_seed(2);
  const auto matrix = torch::randn({7, 11});
  const auto back = dequantise(quantise_nf4(matrix), torch::kFloat32);
  ASSERT_EQ(back.sizes(), matrix.sizes());
  // Half of the widest gap between two values, of the largest element.
  EXPECT_LE((back - matrix).abs().max().item<float>(), 0.152F * matrix.abs().max().item<float>());
  EXPECT_TRUE(torch::equal(dequantise(quantise_nf4(back), torch::kFloat32), back));
}

}  // namespace
}  // namespace streamline
