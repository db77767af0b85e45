// SPDX-License-Identifier: Apache-2.0
// The losses and their gradients by formula against the plain expressions and autograd in float64.
#include "streamline/engine/logit_loss.h"

#include <limits>

#include "support/core/expect.h"
#include "support/torch/pico.h"

namespace streamline {
namespace {

using test::random_tensor;

constexpr std::int64_t kRows = 5;

struct Case {
  torch::ScalarType type;
  double tolerance;  // of a gradient, whose entries are at most 1
};
const std::vector<Case> kCases = {{torch::kDouble, 1e-12}, {torch::kFloat, 3e-6}, {torch::kBFloat16, 4e-3}};

// What an expression gives for the logits, and its gradient by autograd.
LogitLoss by_autograd(const torch::Tensor& logits, const std::function<torch::Tensor(const torch::Tensor&)>& loss) {
  const auto x = logits.to(torch::kDouble).detach().requires_grad_(true);
  const auto value = loss(x);
  value.backward();
  return {value.item<double>(), x.grad()};
}

void expect_equal(const LogitLoss& got, const LogitLoss& expected, const torch::Tensor& logits, double tolerance) {
  EXPECT_NEAR(got.sum, expected.sum, 2e-6 * (1 + std::abs(expected.sum)));
  ASSERT_EQ(got.gradient.scalar_type(), logits.scalar_type());
  ASSERT_EQ(got.gradient.sizes(), logits.sizes());
  EXPECT_LT((got.gradient.to(torch::kDouble) - expected.gradient).abs().max().item<double>(), tolerance);
}

TEST(LogitLoss, CrossEntropyAndItsGradient) {
  for (const Case& c : kCases)
    for (const std::int64_t width : {2, 33, 4099}) {
      const auto logits = random_tensor({kRows, width}, 1, 3).to(c.type);
      const auto targets = torch::tensor({0L, width - 1, kNoTarget, 1L, kNoTarget}, torch::kInt64);
      const auto expected = by_autograd(logits, [&](const torch::Tensor& x) {
        return at::nll_loss(torch::log_softmax(x, -1), targets, {}, at::Reduction::Sum, kNoTarget);
      });
      const LogitLoss got = cross_entropy(logits, targets, true);
      expect_equal(got, expected, logits, c.tolerance);
      EXPECT_EQ(got.gradient[2].abs().max().item<double>(), 0);
      EXPECT_FALSE(cross_entropy(logits, targets, false).gradient.defined());
      EXPECT_EQ(cross_entropy(logits, targets, false).sum, got.sum);
    }
}

// The definition: the teacher's top tokens one by one, what is left as one event.
torch::Tensor divergence_of(const torch::Tensor& x, const TopTokens& teacher) {
  const auto mine = torch::log_softmax(x, -1).gather(1, teacher.ids), theirs = teacher.log_shares.to(torch::kDouble);
  const auto sum = (theirs.exp() * (theirs - mine)).sum();
  if (teacher.ids.size(1) == x.size(1)) return sum;
  const auto rest = [](const torch::Tensor& shares) { return (1 - shares.exp().sum(-1)).clamp_min(1e-7); };
  return sum + (rest(theirs) * (rest(theirs) / rest(mine)).log()).sum();
}

TEST(LogitLoss, DivergenceAndItsGradient) {
  for (const Case& c : kCases)
    for (const std::int64_t width : {33, 4099})
      for (const std::int64_t k : {std::int64_t{1}, std::int64_t{16}, width}) {
        const TopTokens teacher = top_tokens(random_tensor({kRows, width}, 2, 3), k);
        const auto logits = random_tensor({kRows, width}, 1, 3).to(c.type);
        const auto expected = by_autograd(logits, [&](const torch::Tensor& x) { return divergence_of(x, teacher); });
        SCOPED_TRACE(testing::Message() << c.type << " " << width << " " << k);
        expect_equal(top_divergence(logits, teacher, true), expected, logits, 4 * c.tolerance);
        EXPECT_FALSE(top_divergence(logits, teacher, false).gradient.defined());
      }
}

// A student sure of one of the teacher's top tokens leaves nothing: the gradient stays that of the top alone.
TEST(LogitLoss, ARestOfNothingHasNoSlope) {
  const TopTokens teacher = top_tokens(random_tensor({1, 40}, 2), 4);
  auto logits = torch::zeros({1, 40}, torch::kDouble);
  logits[0][teacher.ids[0][1].item<std::int64_t>()] = 60;
  const auto expected = by_autograd(logits, [&](const torch::Tensor& x) { return divergence_of(x, teacher); });
  expect_equal(top_divergence(logits, teacher, true), expected, logits, 1e-12);
}

TEST(LogitLoss, TopTokensAreTheLikeliestWithTheirShares) {
  const auto logits = random_tensor({3, 100}, 4, 2).to(torch::kBFloat16);
  const TopTokens top = top_tokens(logits, 10);
  const auto all = torch::log_softmax(logits.to(torch::kDouble), -1);
  EXPECT_TRUE(torch::allclose(top.log_shares.to(torch::kDouble), std::get<0>(all.topk(10, -1)), 1e-5, 1e-5));
  EXPECT_TRUE(torch::allclose(all.gather(1, top.ids), top.log_shares.to(torch::kDouble), 1e-5, 1e-5));
  EXPECT_EQ(top_tokens(logits, 1000).ids.size(1), 100);
}

TEST(LogitLoss, ShowsNaN) {
  auto logits = random_tensor({2, 50}, 1);
  logits[0][3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(cross_entropy(logits, torch::zeros({2}, torch::kInt64), false).sum));
}

}  // namespace
}  // namespace streamline
