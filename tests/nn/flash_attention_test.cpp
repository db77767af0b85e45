// SPDX-License-Identifier: Apache-2.0
// The attention kernel against a softmax written out in float64.
#include "streamline/nn/flash_attention.h"

#include <algorithm>

#include "streamline/nn/kernel_gradients.h"
#include "support/core/expect.h"
#include "support/torch/pico.h"
#include "support/torch/softmax_attention.h"

namespace streamline {
namespace {

using test::attention_inputs;
using test::AttentionCase;
using test::random_tensor;
using test::softmax_attention;

struct AttentionPrecision {
  torch::ScalarType type;
  double largest;  // difference of results whose values are standard normal
};
// Sums of some hundred products; probabilities and results of eight bits.
const std::vector<AttentionPrecision> kAttentionPrecisions = {{torch::kFloat, 1e-5}, {torch::kBFloat16, 2e-2}};

void expect_attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                      const FlashOptions& options, double largest) {
  const auto difference = flash_attention(q, k, v, options).to(torch::kDouble) - softmax_attention(q, k, v, options);
  EXPECT_LT(difference.abs().max().item<double>(), largest)
      << q.sizes() << " of " << k.sizes() << " " << q.scalar_type();
}

TEST(FlashAttention, EqualsTheSoftmaxWrittenOut) {
  const std::vector<AttentionCase> cases = {
      {1, 1, 1, 1, 1, 16},
      {1, 16, 16, 1, 1, 16},
      {2, 40, 40, 4, 4, 32},
      {1, 300, 300, 8, 2, 64},
      {3, 257, 257, 9, 3, 64},
      {1, 600, 600, 4, 1, 16, {.window = 7}},
      {1, 600, 600, 4, 2, 32, {.window = 256}},
      {1, 300, 300, 4, 2, 32, {.window = 1000}},
      {1, 20, 533, 4, 2, 32},
      {2, 70, 533, 4, 2, 32, {.window = 100}},
      {1, 33, 33, 2, 2, 128, {.window = 1}},
      {1, 520, 520, 6, 2, 48},
      {1, 131, 131, 5, 1, 80},
      {1, 90, 90, 3, 3, 96},
      {1, 67, 67, 2, 1, 256, {.window = 40}},
      {1, 90, 90, 3, 3, 64, {.scale = 0.3}},
      {1, 300, 300, 4, 2, 64, {.softcap = 1.5}},
      {1, 70, 300, 4, 2, 64, {.window = 40, .scale = 1.0, .softcap = 5}},
  };
  for (const AttentionPrecision& p : kAttentionPrecisions)
    for (const AttentionCase& c : cases) {
      const auto x = attention_inputs(c, p.type);
      if (flash_attention_serves(x[0], x[1], x[2])) expect_attention(x[0], x[1], x[2], c.options, p.largest);
    }
}

// Scores in the hundreds: the running maximum moves from block to block, and most probabilities vanish. In fp32 a
// hundred has five digits behind the point.
TEST(FlashAttention, KeepsItsBalanceWithLargeScores) {
  for (const AttentionPrecision& p : kAttentionPrecisions) {
    const auto q = random_tensor({1, 700, 2, 64}, 1, 20).to(p.type);
    const auto k = random_tensor({1, 700, 1, 64}, 2, 5).to(p.type), v = random_tensor({1, 700, 1, 64}, 3).to(p.type);
    if (flash_attention_serves(q, k, v)) expect_attention(q, k, v, {}, std::max(p.largest, 1e-3));
  }
}

TEST(FlashAttention, SeesNoLaterKey) {
  for (const AttentionPrecision& p : kAttentionPrecisions) {
    const auto q = random_tensor({1, 300, 4, 32}, 1).to(p.type);
    auto k = random_tensor({1, 300, 2, 32}, 2).to(p.type), v = random_tensor({1, 300, 2, 32}, 3).to(p.type);
    if (!flash_attention_serves(q, k, v)) continue;
    const auto before = flash_attention(q, k, v, {});
    k.narrow(1, 270, 30).add_(100);
    v.narrow(1, 270, 30).add_(100);
    const auto after = flash_attention(q, k, v, {});
    EXPECT_TRUE(torch::equal(before.narrow(1, 0, 270), after.narrow(1, 0, 270)));
    EXPECT_FALSE(torch::equal(before.narrow(1, 270, 30), after.narrow(1, 270, 30)));
  }
}

TEST(FlashAttention, ReadsRowsWhereverTheyLie) {
  for (const AttentionPrecision& p : kAttentionPrecisions) {
    const auto q = random_tensor({2, 4, 50, 32}, 1).to(p.type).transpose(1, 2);
    const auto k = random_tensor({2, 2, 90, 32}, 2).to(p.type).narrow(2, 0, 50).transpose(1, 2);
    const auto v = random_tensor({2, 2, 90, 32}, 3).to(p.type).narrow(2, 0, 50).transpose(1, 2);
    if (!flash_attention_serves(q, k, v)) continue;
    EXPECT_TRUE(torch::equal(flash_attention(q, k, v, {}),
                             flash_attention(q.contiguous(), k.contiguous(), v.contiguous(), {})));
  }
}

TEST(FlashAttention, OfAnEmptyBatchIsEmpty) {
  for (const AttentionPrecision& p : kAttentionPrecisions) {
    const auto none = torch::empty({0, 40, 2, 32}, p.type);
    if (!flash_attention_serves(none, none, none)) continue;
    EXPECT_EQ(flash_attention(none, none, none, {}).sizes(), none.sizes());
  }
}

TEST(FlashAttention, LeavesOtherTypesWidthsAndFewQueriesToTheLibrary) {
  const auto q = random_tensor({1, 64, 2, 32}, 1), wide = q.to(torch::kDouble), narrow = q.narrow(3, 0, 8);
  EXPECT_FALSE(flash_attention_serves(wide, wide, wide));
  EXPECT_FALSE(flash_attention_serves(narrow, narrow, narrow));
  for (const AttentionPrecision& p : kAttentionPrecisions) {
    const auto few = q.narrow(1, 0, 4).to(p.type);
    EXPECT_FALSE(flash_attention_pays(few, few, few));
  }
}

// What layer-wise recomputation rests on: forward without gradients, then again with them.
TEST(FlashAttention, GivesTheSameValuesWhereGradientsAreWanted) {
  for (const AttentionPrecision& p : kAttentionPrecisions) {
    const auto x = attention_inputs({2, 70, 90, 4, 2, 32}, p.type);
    if (!flash_attention_serves(x[0], x[1], x[2])) continue;
    const auto leaf = x[0].clone().requires_grad_();
    const auto recorded = kernels::recorded_attention(leaf, x[1], x[2], {.window = 30});
    EXPECT_TRUE(recorded.requires_grad());
    EXPECT_TRUE(torch::equal(recorded, flash_attention(x[0], x[1], x[2], {.window = 30})));
  }
}

}  // namespace
}  // namespace streamline
