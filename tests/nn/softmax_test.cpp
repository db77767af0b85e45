// SPDX-License-Identifier: Apache-2.0
// The softmax's kernels against the definition in float64.
#include "streamline/nn/softmax.h"

#include <cmath>
#include <limits>

#include "support/core/expect.h"
#include "support/torch/pico.h"

namespace streamline {
namespace {

using test::random_tensor;

const std::vector<torch::ScalarType> kTypes = {torch::kDouble, torch::kFloat, torch::kBFloat16};

// Half a unit in the last place of a number of this type, and what an exponential in fp32 adds.
double rounding(torch::ScalarType type) { return type == torch::kBFloat16 ? 1.0 / 256 : 4e-6; }

TEST(Softmax, NormaliserIsThatOfTheDefinition) {
  for (const torch::ScalarType type : kTypes)
    for (const std::int64_t width : {1, 7, 32, 33, 4096, 4097, 9000}) {
      const auto logits = random_tensor({5, width}, 1, 8).to(type);
      const auto expected = logits.to(torch::kDouble).logsumexp(-1), got = log_sum_exp(logits);
      EXPECT_EQ(got.scalar_type(), torch::kDouble);
      EXPECT_TRUE(torch::allclose(got, expected, 1e-6, 1e-6)) << type << " " << width;
    }
}

TEST(Softmax, SharesTimesAFactorAreThoseOfTheDefinition) {
  for (const torch::ScalarType type : kTypes)
    for (const std::int64_t width : {1, 7, 32, 33, 4097}) {
      const auto logits = random_tensor({4, width}, 2, 5).to(type);
      const auto factors = torch::tensor({1.0, -2.5, 0.0, 1e-3}, torch::kDouble);
      const auto expected = logits.to(torch::kDouble).softmax(-1) * factors.unsqueeze(1);
      const auto got = scaled_softmax(logits, log_sum_exp(logits), factors);
      ASSERT_EQ(got.scalar_type(), type);
      EXPECT_TRUE(torch::allclose(got.to(torch::kDouble), expected, rounding(type), 1e-30)) << type << " " << width;
      EXPECT_EQ(got[2].abs().sum().item<double>(), 0);
    }
}

TEST(Softmax, TakesRowsThatAreNotAdjacentAndNone) {
  const auto wide = random_tensor({6, 40}, 3), part = wide.narrow(1, 3, 33);
  EXPECT_TRUE(torch::equal(log_sum_exp(part), log_sum_exp(part.contiguous())));
  const auto sums = log_sum_exp(part), ones = torch::ones_like(sums);
  EXPECT_TRUE(torch::equal(scaled_softmax(part, sums, ones), scaled_softmax(part.contiguous(), sums, ones)));
  const auto none = torch::empty({0, 33});
  EXPECT_EQ(log_sum_exp(none).numel(), 0);
  EXPECT_EQ(scaled_softmax(none, log_sum_exp(none), log_sum_exp(none)).sizes(), none.sizes());
}

TEST(Softmax, StaysFiniteFarFromZeroAndShowsNaN) {
  for (const torch::ScalarType type : kTypes) {
    auto logits = torch::full({2, 5000}, -30000.0).to(type);
    logits[0][17] = 30000.0;
    const auto sums = log_sum_exp(logits);
    EXPECT_NEAR(sums[0].item<double>(), logits[0][17].item<double>(), 1e-6);
    const auto shares = scaled_softmax(logits, sums, torch::ones({2}, torch::kDouble));
    EXPECT_NEAR(shares[0][17].item<double>(), 1, 1e-6);
    EXPECT_NEAR(shares[0].sum().item<double>(), 1, 1e-6);
    EXPECT_NEAR(shares[1][4999].item<double>(), 1.0 / 5000, 0.01 / 5000);
    logits[1][4999] = std::numeric_limits<double>::quiet_NaN();
    EXPECT_TRUE(std::isnan(log_sum_exp(logits)[1].item<double>()));
    EXPECT_FALSE(std::isnan(log_sum_exp(logits)[0].item<double>()));
  }
}

}  // namespace
}  // namespace streamline
