// SPDX-License-Identifier: Apache-2.0
// Ranks that share the steps of a training end with the weights of one process, to rounding, and all with the same.
#include <mutex>

#include "streamline/heal/trainer.h"
#include "tests/heal/pico.h"
#include "tests/support/core/expect.h"
#include "tests/support/core/temporary_directory.h"
#include "tests/support/torch/rank_threads.h"

namespace streamline {
namespace {

using test::pico_model;
using test::random_tokens;

double largest_difference(const LayerWeights& a, const LayerWeights& b) {
  double largest = 0;
  const auto left = a.all(), right = b.all();
  for (std::size_t i = 0; i < left.size(); ++i)
    largest = std::max(largest, (left[i] - right[i]).abs().max().item<double>());
  return largest;
}

TEST(HealingInRanks, ComesToTheWeightsOfOneProcess) {
  const TokenBatches training = random_tokens(14, 16, 1), validation = random_tokens(3, 16, 2);
  for (const Loss loss : {Loss::mse, Loss::divergence}) {
    const HealOptions options{.learning_rate = 1e-3, .batch_tokens = 4 * 16, .losses = {{.loss = loss}}};
    const auto healed = [&](const Placement& placement) {
      return heal_window(pico_model(test::tiny_llama(4), 1, {}, placement), 1, 2, find_replacement("layer"), training,
                         validation, options);
    };
    const HealResult whole = healed({});
    std::mutex mutex;
    std::vector<HealResult> shared;
    test::in_ranks(3, [&](const Ranks& ranks) {
      HealResult result = healed({.ranks = ranks});
      ranks.finish(0);
      const std::lock_guard lock(mutex);
      shared.push_back(std::move(result));
    });
    ASSERT_EQ(shared.size(), 3U);
    for (const HealResult& result : shared) {
      EXPECT_TRUE(test::same(result.weights.front(), shared.front().weights.front()));
      EXPECT_LE(largest_difference(result.weights.front(), whole.weights.front()), 1e-5);
      EXPECT_EQ(result.tokens, whole.tokens);
      EXPECT_EQ(result.last().steps.size(), whole.last().steps.size());
      EXPECT_NEAR(result.last().best, whole.last().best, 1e-5 * whole.last().best);
      EXPECT_NEAR(result.last().steps.back().loss, whole.last().steps.back().loss, 1e-5);
    }
    EXPECT_LT(whole.last().best, whole.last().initial);  // it has moved
  }
}

TEST(HealingInRanks, GoesOnFromAStateThatTheFirstSaved) {
  const test::TemporaryDirectory folder;
  const TokenBatches training = random_tokens(8, 16, 1), validation = random_tokens(3, 16, 2);
  HealOptions options{.learning_rate = 1e-3, .batch_tokens = 2 * 16};
  options.state_file = folder.path() / "state.safetensors";
  const auto healed = [&](const Placement& placement) {
    return heal_window(pico_model(test::tiny_llama(4), 1, {}, placement), 1, 2, find_replacement("layer"), training,
                       validation, options);
  };
  for (int again = 0; again < 2; ++again)  // the second only takes up the end of the first
    test::in_ranks(2, [&](const Ranks& ranks) {
      EXPECT_EQ(healed({.ranks = ranks}).last().steps.size(), 4U);
      ranks.finish(0);
    });
  EXPECT_EQ(healed({}).last().steps.size(), 4U);
}

// One rank alone has a state, of step 0, where the others begin.
TEST(HealingInRanks, RefuseStatesThatNotAllOfThemFind) {
  const test::TemporaryDirectory folder;
  const auto state_of = [&](int rank) { return folder.path() / ("state-" + std::to_string(rank) + ".safetensors"); };
  const auto healed = [&](const Placement& placement, const HealOptions& options) {
    return heal_window(pico_model(test::tiny_llama(4), 1, {}, placement), 1, 2, find_replacement("layer"),
                       random_tokens(8, 16, 1), random_tokens(3, 16, 2), options);
  };
  HealOptions options{.learning_rate = 1e-3, .batch_tokens = 2 * 16};
  options.state_file = state_of(0);
  struct Stopped {};
  options.log = [](const Json& record) {
    if (record.contains("loss")) throw Stopped();
  };
  EXPECT_THROW(healed({}, options), Stopped);
  options.log = {};
  test::in_ranks(2, [&](const Ranks& ranks) {
    HealOptions own = options;
    own.state_file = state_of(ranks.rank());
    EXPECT_ERROR(healed({.ranks = ranks}, own), io, "ranks find different training states");
  });
}

}  // namespace
}  // namespace streamline
