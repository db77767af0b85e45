// SPDX-License-Identifier: Apache-2.0
// Products of a few rows against the formula, and where they are left to libtorch.
#include "streamline/nn/few_rows.h"

#include <ATen/Parallel.h>

#include "streamline/nn/linear.h"
#include "support/torch/pico.h"

namespace streamline {
namespace {

using test::random_tensor;

// Of sums of products of both signs, by the largest of them.
double error(const torch::Tensor& got, const torch::Tensor& expected) {
  return ((got.to(torch::kDouble) - expected).abs().max() / expected.abs().max()).item<double>();
}

double allowed(torch::ScalarType type) { return type == torch::kFloat ? 1e-6 : 1.0 / 256; }

TEST(FewRows, AreTheProductOfTheFormula) {
  for (const auto type : {torch::kFloat, torch::kBFloat16})
    for (const std::int64_t rows : {1, 2, 3, 4})
      for (const std::int64_t width : {1, 15, 16, 64, 80, 100, 576})
        for (const std::int64_t out : {1, 3, 4, 9, 130}) {
          const auto x = random_tensor({rows, width}, 1).to(type), weight = random_tensor({out, width}, 2).to(type),
                     bias = random_tensor({out}, 3).to(type), base = random_tensor({rows, out}, 4).to(type);
          ASSERT_TRUE(kernels::few_rows_apply(x, weight, bias, base));
          const auto product = x.to(torch::kDouble).mm(weight.to(torch::kDouble).t());
          const auto where = [&] { return testing::Message() << type << " " << rows << " " << width << " " << out; };
          const auto bare = kernels::few_rows_product(x, weight, {});
          EXPECT_EQ(bare.scalar_type(), type);
          EXPECT_LT(error(bare, product), allowed(type)) << where();
          EXPECT_LT(error(kernels::few_rows_product(x, weight, bias), product + bias.to(torch::kDouble)), allowed(type))
              << where();
          EXPECT_LT(error(kernels::few_rows_product(x, weight, bias, base, 0.5),
                          base.to(torch::kDouble) + 0.5 * (product + bias.to(torch::kDouble))),
                    allowed(type))
              << where();
        }
}

TEST(FewRows, OfPartOfAMatrixReadNoOther) {
  const auto whole = random_tensor({40, 200}, 1), x = random_tensor({2, 96}, 2);
  const auto part = whole.narrow(0, 8, 21).narrow(1, 50, 96);
  ASSERT_TRUE(kernels::few_rows_apply(x, part, {}));
  EXPECT_TRUE(
      torch::equal(kernels::few_rows_product(x, part, {}), kernels::few_rows_product(x, part.contiguous(), {})));
}

TEST(FewRows, AreTheSameOnAnyNumberOfThreads) {
  const int threads = at::get_num_threads();
  for (const auto type : {torch::kFloat, torch::kBFloat16})
    for (const std::int64_t rows : {1, 2, 3, 4}) {
      const auto x = random_tensor({rows, 300}, 1).to(type), weight = random_tensor({1001, 300}, 2).to(type);
      at::set_num_threads(1);
      const auto alone = kernels::few_rows_product(x, weight, {});
      at::set_num_threads(3);
      const auto together = kernels::few_rows_product(x, weight, {});
      at::set_num_threads(threads);
      EXPECT_TRUE(torch::equal(alone, together)) << type << " " << rows;
    }
}

TEST(FewRows, AreLeftToLibtorchWhereItMust) {
  const auto x = random_tensor({1, 32}, 1), weight = random_tensor({8, 32}, 2);
  EXPECT_TRUE(kernels::few_rows_apply(x, weight, {}));
  EXPECT_FALSE(kernels::few_rows_apply(random_tensor({5, 32}, 1), weight, {}));
  EXPECT_FALSE(kernels::few_rows_apply(random_tensor({0, 32}, 1), weight, {}));
  EXPECT_FALSE(kernels::few_rows_apply(x, random_tensor({32, 8}, 2).t(), {}));  // stored by columns
  EXPECT_FALSE(kernels::few_rows_apply(x.to(torch::kHalf), weight.to(torch::kHalf), {}));
  EXPECT_FALSE(kernels::few_rows_apply(x, weight.to(torch::kBFloat16), {}));
  const auto trained = random_tensor({8}, 3).requires_grad_();
  EXPECT_FALSE(kernels::few_rows_apply(x, weight, trained));
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(kernels::few_rows_apply(x, weight, trained));
}

TEST(FewRows, AreWhatLinearGivesWithABiasAndAResidual) {
  const RoleTensors weights = {.weight = random_tensor({24, 64}, 1), .bias = random_tensor({24}, 2)};
  const auto many = random_tensor({2, 4, 64}, 3), residual = random_tensor({2, 4, 24}, 4);
  const auto products = linear(many, weights), sums = add_linear(residual, many, weights, Reuse::no, 0.25);
  for (std::int64_t token = 0; token < 4; ++token) {
    const auto at = [&](const torch::Tensor& tensor) { return tensor.narrow(1, token, 1); };
    EXPECT_TRUE(torch::allclose(linear(at(many), weights), at(products), 1e-5, 1e-5));
    EXPECT_TRUE(torch::allclose(add_linear(at(residual), at(many), weights, Reuse::yes, 0.25), at(sums), 1e-5, 1e-5));
  }
}

}  // namespace
}  // namespace streamline
