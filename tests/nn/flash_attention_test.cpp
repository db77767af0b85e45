// SPDX-License-Identifier: Apache-2.0
// The bf16 attention kernel against a softmax written out in float64.
#include "streamline/nn/flash_attention.h"

#include <cmath>
#include <limits>

#include "streamline/nn/attention.h"
#include "support/core/expect.h"
#include "support/torch/pico.h"

namespace streamline {
namespace {

using test::random_tensor;

constexpr double kAttention16 = 2e-2;  // probabilities and results have eight bits; values are standard normal

struct AttentionCase {
  std::int64_t batch, queries, keys, heads, kv_heads, head_dim;
  std::optional<std::int64_t> window;
};

torch::Tensor expected(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                       std::optional<std::int64_t> window) {
  const std::int64_t group = q.size(2) / k.size(2);
  const auto heads_first = [](const torch::Tensor& x) { return x.to(torch::kDouble).transpose(1, 2); };
  const auto keys = heads_first(k).repeat_interleave(group, 1), values = heads_first(v).repeat_interleave(group, 1);
  auto scores = heads_first(q).matmul(keys.transpose(2, 3)) / std::sqrt(static_cast<double>(q.size(3)));
  const auto allowed = attention_mask(q.size(1), k.size(1), window, torch::kCPU);
  scores = scores.masked_fill(~allowed, -std::numeric_limits<double>::infinity());
  return scores.softmax(-1).matmul(values).transpose(1, 2);
}

TEST(FlashAttention, EqualsTheSoftmaxWrittenOut) {
  const std::vector<AttentionCase> cases = {
      {1, 16, 16, 1, 1, 16, {}},     {2, 40, 40, 4, 4, 32, {}},   {1, 300, 300, 8, 2, 64, {}},
      {3, 257, 257, 9, 3, 64, {}},   {1, 600, 600, 4, 1, 16, 7},  {1, 600, 600, 4, 2, 32, 256},
      {1, 300, 300, 4, 2, 32, 1000}, {1, 20, 533, 4, 2, 32, {}},  {2, 70, 533, 4, 2, 32, 100},
      {1, 33, 33, 2, 2, 128, 1},     {1, 520, 520, 6, 2, 48, {}}, {1, 131, 131, 5, 1, 80, {}},
      {1, 90, 90, 3, 3, 96, {}},     {1, 67, 67, 2, 1, 256, 40},
  };
  for (const AttentionCase& c : cases) {
    const auto q = random_tensor({c.batch, c.queries, c.heads, c.head_dim}, 1).to(torch::kBFloat16);
    const auto k = random_tensor({c.batch, c.keys, c.kv_heads, c.head_dim}, 2).to(torch::kBFloat16);
    const auto v = random_tensor({c.batch, c.keys, c.kv_heads, c.head_dim}, 3).to(torch::kBFloat16);
    if (!flash_attention_serves(q, k, v)) GTEST_SKIP() << "this machine has no bf16 matrix products";
    const auto difference = flash_attention(q, k, v, c.window).to(torch::kDouble) - expected(q, k, v, c.window);
    EXPECT_LT(difference.abs().max().item<double>(), kAttention16) << c.queries << " of " << c.keys;
  }
}

// Scores in the hundreds: the running maximum moves from block to block, and most probabilities vanish.
TEST(FlashAttention, KeepsItsBalanceWithLargeScores) {
  const auto q = random_tensor({1, 700, 2, 64}, 1, 20).to(torch::kBFloat16);
  const auto k = random_tensor({1, 700, 1, 64}, 2, 5).to(torch::kBFloat16);
  const auto v = random_tensor({1, 700, 1, 64}, 3).to(torch::kBFloat16);
  if (!flash_attention_serves(q, k, v)) GTEST_SKIP() << "this machine has no bf16 matrix products";
  const auto difference = flash_attention(q, k, v, {}).to(torch::kDouble) - expected(q, k, v, {});
  EXPECT_LT(difference.abs().max().item<double>(), kAttention16);
}

TEST(FlashAttention, SeesNoLaterKey) {
  const auto q = random_tensor({1, 300, 4, 32}, 1).to(torch::kBFloat16);
  auto k = random_tensor({1, 300, 2, 32}, 2).to(torch::kBFloat16),
       v = random_tensor({1, 300, 2, 32}, 3).to(torch::kBFloat16);
  if (!flash_attention_serves(q, k, v)) GTEST_SKIP() << "this machine has no bf16 matrix products";
  const auto before = flash_attention(q, k, v, {});
  k.narrow(1, 270, 30).add_(100);
  v.narrow(1, 270, 30).add_(100);
  const auto after = flash_attention(q, k, v, {});
  EXPECT_TRUE(torch::equal(before.narrow(1, 0, 270), after.narrow(1, 0, 270)));
  EXPECT_FALSE(torch::equal(before.narrow(1, 270, 30), after.narrow(1, 270, 30)));
}

TEST(FlashAttention, ReadsRowsWhereverTheyLie) {
  const auto q = random_tensor({2, 4, 50, 32}, 1).to(torch::kBFloat16).transpose(1, 2);
  const auto k = random_tensor({2, 2, 90, 32}, 2).to(torch::kBFloat16).narrow(2, 0, 50).transpose(1, 2);
  const auto v = random_tensor({2, 2, 90, 32}, 3).to(torch::kBFloat16).narrow(2, 0, 50).transpose(1, 2);
  if (!flash_attention_serves(q, k, v)) GTEST_SKIP() << "this machine has no bf16 matrix products";
  EXPECT_TRUE(
      torch::equal(flash_attention(q, k, v, {}), flash_attention(q.contiguous(), k.contiguous(), v.contiguous(), {})));
}

TEST(FlashAttention, OfAnEmptyBatchIsEmpty) {
  const auto none = torch::empty({0, 40, 2, 32}, torch::kBFloat16);
  if (!flash_attention_serves(none, none, none)) GTEST_SKIP() << "this machine has no bf16 matrix products";
  EXPECT_EQ(flash_attention(none, none, none, {}).sizes(), none.sizes());
}

TEST(FlashAttention, LeavesOtherTypesFewQueriesAndGradientsToTheLibrary) {
  const auto q = random_tensor({1, 64, 2, 32}, 1), short_q = q.narrow(1, 0, 4).to(torch::kBFloat16);
  EXPECT_FALSE(flash_attention_serves(q, q, q));
  EXPECT_FALSE(flash_attention_serves(short_q, short_q, short_q));
  const auto trained = q.to(torch::kBFloat16).requires_grad_();
  EXPECT_FALSE(flash_attention_serves(trained, trained, trained));
}

}  // namespace
}  // namespace streamline
