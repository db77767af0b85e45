// SPDX-License-Identifier: Apache-2.0
#include "streamline/sparse/input_sums.h"

#include "support/core/expect.h"
#include "support/torch/pico.h"

namespace streamline::sparse {
namespace {

using test::random_tensor;

double largest_error(const torch::Tensor& squares, const torch::Tensor& rows) {
  const auto exact = rows.to(torch::kDouble).square().sum(0);
  return ((squares - exact) / exact).abs().max().item<double>();
}

// Rows and columns that fill no block, components of very different sizes, in two parts.
TEST(InputSums, AreExactToAMillionth) {
  const auto all = random_tensor({2, 67, 601}, 1) * random_tensor({601}, 2, 8).exp();
  for (const auto type : {torch::kFloat, torch::kBFloat16, torch::kDouble}) {
    const auto inputs = all.to(type);
    InputSums sums(false);
    sums.add(Role::q, -1, inputs.narrow(1, 0, 40));
    sums.add(Role::q, -1, inputs.narrow(1, 40, 27));
    const InputSum* seen = sums.of(Role::v, -1);
    ASSERT_NE(seen, nullptr);
    EXPECT_EQ(seen->moments.tokens, 134);
    EXPECT_LT(largest_error(seen->moments.squares, inputs.flatten(0, 1)), 1e-6) << type;
    EXPECT_FALSE(seen->gram.defined());
    EXPECT_EQ(sums.of(Role::up, -1), nullptr);
  }
}

TEST(InputSums, LeaveLeadingPositionsOut) {
  auto inputs = random_tensor({3, 5, 24}, 3);
  inputs.narrow(1, 0, 1) *= 1000;  // as BOS has it
  InputSums sums(true, 1);
  sums.add(Role::q, -1, inputs);
  sums.add(Role::down, 0, inputs[0]);  // of an expert, whose tokens have no places
  const InputSum* seen = sums.of(Role::q, -1);
  EXPECT_EQ(seen->moments.tokens, 12);
  EXPECT_LT(largest_error(seen->moments.squares, inputs.slice(1, 1).flatten(0, 1)), 1e-6);
  EXPECT_TRUE(torch::allclose(seen->gram.diagonal().to(torch::kDouble), seen->moments.squares, 1e-5));
  EXPECT_EQ(sums.of(Role::down, 0)->moments.tokens, 5);
}

TEST(InputSums, GramMatricesStandBesideThem) {
  const auto inputs = random_tensor({50, 24}, 3).to(torch::kBFloat16);
  InputSums sums(true);
  sums.add(Role::down, 2, inputs);
  const InputSum* seen = sums.of(Role::down, 2);
  ASSERT_NE(seen, nullptr);
  EXPECT_LT(largest_error(seen->moments.squares, inputs), 1e-6);
  EXPECT_TRUE(torch::allclose(seen->gram.diagonal().to(torch::kDouble), seen->moments.squares, 1e-5));
}

}  // namespace
}  // namespace streamline::sparse
