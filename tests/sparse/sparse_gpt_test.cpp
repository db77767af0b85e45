// SPDX-License-Identifier: Apache-2.0
#include "streamline/sparse/sparse_gpt.h"

#include "support/core/expect.h"
#include "support/torch/pico.h"

namespace streamline::sparse {
namespace {

using test::random_tensor;

// Inputs that depend on each other, [tokens, in], and a matrix [out, in].
struct Problem {
  torch::Tensor inputs, matrix;

  explicit Problem(std::int64_t width, std::uint64_t seed)
      : inputs(random_tensor({200, width}, seed).matmul(random_tensor({width, width}, seed + 1))),
        matrix(random_tensor({6, width}, seed + 2)) {}
  torch::Tensor gram() const { return inputs.t().matmul(inputs); }
  double error(const torch::Tensor& other) const {
    return (inputs.matmul((other - matrix).t())).square().sum().item<double>();
  }
};

// One weight a row: what is left is the least-squares solution without it.
TEST(SparseGpt, WeightsThatStayMakeUpForTheOneThatGoes) {
  Problem problem(5, 20);
  problem.matrix.select(1, 0).fill_(1e-4);  // the least to lose, in every row
  const double damping = 0.01;
  auto pruned = problem.matrix.clone();
  // The value at the place of six of thirty: as many as the column has, and one more would tie with none.
  sparse_gpt(pruned, sparse_gpt_inputs(problem.gram(), damping), {.ratio = 5.0 / 30, .block = 5});
  EXPECT_EQ(pruned.select(1, 0).count_nonzero().item<std::int64_t>(), 0);
  const auto wide = problem.gram().to(torch::kDouble);
  const auto hessian = wide + damping * wide.diagonal().mean() * torch::eye(5, torch::kDouble);
  const auto rest = hessian.narrow(0, 1, 4).narrow(1, 1, 4), across = hessian.narrow(0, 1, 4).narrow(1, 0, 1);
  const auto weights = problem.matrix.to(torch::kDouble);
  const auto expected = weights.narrow(1, 1, 4) +
                        torch::linalg_solve(rest, across, /*left=*/true).matmul(weights.narrow(1, 0, 1).t()).t();
  EXPECT_TRUE(torch::allclose(pruned.narrow(1, 1, 4).to(torch::kDouble), expected, 1e-3, 1e-4));
}

TEST(SparseGpt, LosesLessThanTakingTheSameShareAway) {
  for (const std::int64_t block : {16, 128}) {
    double made_up = 0, taken = 0;
    for (std::uint64_t seed = 30; seed < 90; seed += 10) {
      const Problem problem(48, seed);
      auto pruned = problem.matrix.clone(), wanda = problem.matrix.clone();
      sparse_gpt(pruned, sparse_gpt_inputs(problem.gram(), 0.01), {.ratio = 0.5, .block = block});
      zero_smallest_of_rows(wanda, problem.inputs.square().sum(0).sqrt(), 0.5);
      EXPECT_NEAR(static_cast<double>(pruned.eq(0).sum().item<std::int64_t>()), 0.5 * 6 * 48, 6);
      made_up += problem.error(pruned) / problem.error(wanda), taken += 1;
    }
    EXPECT_LT(made_up, 0.95 * taken) << block;
  }
}

TEST(SparseGpt, KeepsPatterns) {
  const Problem problem(24, 40);
  auto pruned = problem.matrix.clone(), taken = problem.matrix.clone();
  sparse_gpt(pruned, sparse_gpt_inputs(problem.gram(), 0.01), {.pattern = {2, 4}, .block = 10});
  EXPECT_TRUE(pruned.view({6, 6, 4}).ne(0).sum(-1).eq(2).all().item<bool>());
  zero_smallest_of_groups(taken, problem.inputs.square().sum(0).sqrt(), {2, 4});
  EXPECT_LT(problem.error(pruned), problem.error(taken));
  EXPECT_ERROR(sparse_gpt(pruned, sparse_gpt_inputs(problem.gram(), 0.01), {.pattern = {2, 5}}), mismatch,
               "groups of 5");
}

TEST(SparseGpt, ColumnsOfDeadInputsGo) {
  Problem problem(8, 50);
  problem.inputs.select(1, 3).zero_();
  auto pruned = problem.matrix.clone();
  sparse_gpt(pruned, sparse_gpt_inputs(problem.gram(), 0.01), {.ratio = 0});
  EXPECT_EQ(pruned.select(1, 3).count_nonzero().item<std::int64_t>(), 0);
  EXPECT_LT(problem.error(pruned), 1e-6);
  auto broken = torch::full({4, 4}, NAN);
  EXPECT_ERROR(sparse_gpt_inputs(broken, 0.01), numeric, "singular");
}

}  // namespace
}  // namespace streamline::sparse
