// SPDX-License-Identifier: Apache-2.0
// Block products against float64, whatever the machine has for them.
#include "streamline/nn/bf16_product.h"

#include "support/core/expect.h"
#include "support/torch/pico.h"

namespace streamline {
namespace {

using test::random_tensor;

// [depth, columns] as bf16_product wants its right-hand side.
torch::Tensor pairs_of_rows(const torch::Tensor& b) {
  return b.unflatten(0, {b.size(0) / 2, 2}).transpose(1, 2).contiguous();
}

TEST(Bf16Product, EqualsFloat64AtEverySize) {
  if (!bf16_products_serve()) GTEST_SKIP() << "this machine has no bf16 matrix products";
  for (const std::int64_t rows : {1, 7, 8, 9, 33})
    for (const std::int64_t columns : {16, 32, 48, 80, 256})
      for (const std::int64_t depth : {2, 16, 80, 258})
        for (const bool add : {false, true}) {
          const auto a = random_tensor({rows, depth}, 1).to(torch::kBFloat16);
          const auto b = random_tensor({depth, columns}, 2).to(torch::kBFloat16);
          auto c = random_tensor({rows, columns}, 3);
          const auto expected = a.to(torch::kDouble).matmul(b.to(torch::kDouble)) + (add ? 1.0 : 0.0) * c;
          const auto packed = pairs_of_rows(b);
          bf16_product({rows, columns, depth, depth, columns, columns},
                       static_cast<const simd::Bf16*>(a.const_data_ptr()),
                       static_cast<const simd::Bf16*>(packed.const_data_ptr()), c.data_ptr<float>(), add);
          bf16_products_done();
          EXPECT_LT((c - expected).abs().max().item<double>(), 1e-4) << rows << " x " << columns << " x " << depth;
        }
}

// Rows of c beyond `columns` belong to others, and rows of a and c need not follow each other.
TEST(Bf16Product, StaysWithinItsColumns) {
  if (!bf16_products_serve()) GTEST_SKIP() << "this machine has no bf16 matrix products";
  const auto a = random_tensor({9, 64}, 1).to(torch::kBFloat16), b = random_tensor({32, 48}, 2).to(torch::kBFloat16);
  const auto packed = pairs_of_rows(b);
  auto c = torch::full({9, 40}, 7.0f);
  bf16_product({9, 32, 32, 64, 48, 40}, static_cast<const simd::Bf16*>(a.const_data_ptr()),
               static_cast<const simd::Bf16*>(packed.const_data_ptr()), c.data_ptr<float>(), false);
  bf16_products_done();
  const auto expected = a.narrow(1, 0, 32).to(torch::kDouble).matmul(b.narrow(1, 0, 32).to(torch::kDouble));
  EXPECT_LT((c.narrow(1, 0, 32) - expected).abs().max().item<double>(), 1e-4);
  EXPECT_TRUE(c.narrow(1, 32, 8).eq(7).all().item<bool>());
}

// Odd depths too, and strides as above.
TEST(FloatProduct, EqualsFloat64AtEverySize) {
  if (!float_products_serve()) GTEST_SKIP() << "this machine has no fp32 block products";
  for (const std::int64_t rows : {1, 7, 8, 9, 33})
    for (const std::int64_t columns : {16, 32, 48, 80, 256})
      for (const std::int64_t depth : {1, 2, 15, 80, 257})
        for (const bool add : {false, true}) {
          const auto a = random_tensor({rows, depth + 3}, 1), b = random_tensor({depth, columns + 16}, 2);
          auto c = random_tensor({rows, columns + 8}, 3);
          const auto before = c.clone();
          const auto product = a.narrow(1, 0, depth).to(torch::kDouble).matmul(b.to(torch::kDouble));
          const auto expected = product.narrow(1, 0, columns) + (add ? 1.0 : 0.0) * c.narrow(1, 0, columns);
          float_product({rows, columns, depth, depth + 3, columns + 16, columns + 8}, a.const_data_ptr<float>(),
                        b.const_data_ptr<float>(), c.data_ptr<float>(), add);
          EXPECT_LT((c.narrow(1, 0, columns) - expected).abs().max().item<double>(), 1e-4)
              << rows << " x " << columns << " x " << depth;
          EXPECT_TRUE(torch::equal(c.narrow(1, columns, 8), before.narrow(1, columns, 8)));
        }
}

}  // namespace
}  // namespace streamline
