// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/tail.h"

#include "streamline/engine/sweep.h"
#include "tests/heal/pico.h"

namespace streamline {
namespace {

using test::pico_model;

const Placement kDouble = {torch::kCPU, torch::kFloat64};

// A model, hidden states that enter its third layer, and the tokens that they belong to.
struct Example {
  Model model;
  torch::Tensor ids, x;
};

Example example(const Json& json) {
  Model model = pico_model(json, 1, {}, kDouble);
  const auto ids = to_tensor(test::random_tokens(2, 7, 3), {0, 1}, torch::kCPU);
  auto x = hidden_states(model, ids)[2];
  return {std::move(model), ids, x};
}

torch::Tensor log_shares_of(const Example& e) { return torch::log_softmax(forward_logits(e.model, e.ids), -1); }

TEST(Tail, CrossEntropyIsThatOfTheWholeModel) {
  for (const Json& json : {test::tiny_llama(), test::tiny_opt(), test::tiny_qwen3()}) {
    const Example e = example(json);
    const auto shares = log_shares_of(e);
    double expected = 0;
    for (std::int64_t row = 0; row < 2; ++row)
      for (std::int64_t t = 0; t + 1 < 7; ++t)
        expected -= shares[row][t][e.ids[row][t + 1].item<std::int64_t>()].item<double>();
    EXPECT_NEAR(Tail(e.model, 2).next_token(e.x, e.ids, false).sum, expected, 1e-9 * expected);
  }
}

TEST(Tail, DivergenceOfAModelFromItselfIsNothing) {
  const Example e = example(test::tiny_llama());
  const Tail tail(e.model, 2);
  EXPECT_NEAR(tail.divergence(e.x, tail.top_tokens(e.x, 256), false).sum, 0, 1e-12);
  EXPECT_NEAR(tail.divergence(e.x, tail.top_tokens(e.x, 8), false).sum, 0, 1e-9);
}

TEST(Tail, DivergenceIsThatOfTheWholeVocabularyAndFromBelowOfItsTop) {
  const Example e = example(test::tiny_llama());
  const Tail tail(e.model, 2);
  const auto other = e.x + 0.3 * torch::randn_like(e.x);
  const auto theirs = log_shares_of(e);
  auto state = other;
  for (std::int64_t layer = 2; layer < e.model.layer_count(); ++layer)
    state = block_forward(e.model.config(), e.model.layer(layer), state,
                          rope_positions(e.model.config(), 0, 7, torch::kCPU));
  const auto mine = torch::log_softmax(e.model.logits(state), -1);
  const double expected = (theirs.exp() * (theirs - mine)).sum().item<double>();
  ASSERT_GT(expected, 1e-3);
  EXPECT_NEAR(tail.divergence(other, tail.top_tokens(e.x, 256), false).sum, expected, 1e-9 * expected);
  const double top = tail.divergence(other, tail.top_tokens(e.x, 32), false).sum;
  EXPECT_LT(top, expected);
  EXPECT_GT(top, 0);
}

// Through frozen layers, recomputed on the way back, against central differences.
TEST(Tail, GradientEqualsCentralDifferences) {
  constexpr double kStep = 1e-5, kRelative = 1e-5;
  for (const Json& json : {test::tiny_llama(), test::tiny_opt(), test::tiny_qwen3()}) {
    SCOPED_TRACE(json["model_type"].get<std::string>());
    const Example e = example(json);
    const Tail tail(e.model, 2);
    const TopTokens teacher = tail.top_tokens(e.x, 16);
    const auto from = e.x + 0.3 * torch::randn_like(e.x);
    const auto check = [&](const std::function<TailLoss(const torch::Tensor&, bool)>& loss) {
      const auto gradient = loss(from, true).gradient;
      ASSERT_EQ(gradient.sizes(), from.sizes());
      const double scale = gradient.abs().max().item<double>();
      ASSERT_GT(scale, 0);
      Rng rng(7);
      for (int probe = 0; probe < 8; ++probe) {
        const auto i = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(from.numel())));
        auto above = from.clone(), below = from.clone();
        above.view(-1)[i] += kStep;
        below.view(-1)[i] -= kStep;
        const double slope = (loss(above, false).sum - loss(below, false).sum) / (2 * kStep);
        EXPECT_NEAR(gradient.view(-1)[i].item<double>(), slope, kRelative * scale);
      }
    };
    check([&](const torch::Tensor& x, bool wanted) { return tail.next_token(x, e.ids, wanted); });
    check([&](const torch::Tensor& x, bool wanted) { return tail.divergence(x, teacher, wanted); });
  }
}

}  // namespace
}  // namespace streamline
