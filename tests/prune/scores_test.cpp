// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/scores.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "prune/score_samples.h"
#include "streamline/base/resources.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

using test::layer_of;
using test::pico_model;
using test::random_tokens;
using test::scores_with;
using test::tiny_llama;

constexpr double kFloatCosine = 1e-6;  // a cosine computed in fp32

// The tiny model with layers first … last writing nothing into the residual stream.
Model with_identity_layers(std::int64_t first, std::int64_t last) {
  return pico_model(tiny_llama(), 1, [=](const ExpectedTensor& tensor, std::vector<float>& values) {
    const std::int64_t layer = layer_of(tensor);
    if (layer >= first && layer <= last && test::writes_to_stream(tensor)) values.assign(values.size(), 0.0F);
  });
}

torch::Tensor ids_tensor(const std::vector<TokenId>& ids) {
  return torch::tensor(std::vector<std::int64_t>(ids.begin(), ids.end())).unsqueeze(0);
}

double mean_cosine(const torch::Tensor& a, const torch::Tensor& b) {
  return torch::cosine_similarity(a.to(torch::kFloat64), b.to(torch::kFloat64), -1).mean().item<double>();
}

// Specification check 1.
TEST(Scores, FindTheIdentityLayerFirst) {
  const Model model = with_identity_layers(3, 3);
  const Scores scores = score_layers(model, random_tokens(3, 20, 5), {});
  EXPECT_EQ(scores.window_cosine(3, 1), 1.0);
  EXPECT_EQ(scores.window_relative_l2(3, 1), 0.0);
  EXPECT_EQ(ranked_windows(scores, 1, {}).front().start, 3);

  const auto ids = ids_tensor(random_tokens(1, 20, 6).sequences[0]);
  const auto whole = forward_logits(model, ids), cut = forward_logits(model.view(cut_window(6, 3, 1), {}), ids);
  EXPECT_LE((whole - cut).abs().max().item<double>(), kFloatCosine);
}

// Specification check 2.
TEST(Scores, CompareTheEndsOfAWindowNotItsLayers) {
  const Model model = with_identity_layers(2, 4);
  const TokenBatches batches = random_tokens(2, 16, 7);
  const Scores scores = score_layers(model, batches, {});
  EXPECT_EQ(scores.window_cosine(2, 3), 1.0);
  double expected = 0;
  for (const auto& ids : batches.sequences) {
    const auto states = hidden_states(model, ids_tensor(ids));
    expected += mean_cosine(states[0][0], states[2][0]) / 2;
  }
  EXPECT_NEAR(scores.window_cosine(0, 2), expected, kFloatCosine);
  EXPECT_GT(std::abs(expected - scores.window_cosine(0, 1) * scores.window_cosine(1, 1)), 100 * kFloatCosine);

  const auto ids = ids_tensor(batches.sequences[0]);
  const auto whole = forward_logits(model, ids), cut = forward_logits(model.view(cut_window(6, 2, 3), {}), ids);
  EXPECT_LE((whole - cut).abs().max().item<double>(), kFloatCosine);
}

// Specification check 5: one token of cosine 1, then three of cosine 0.
TEST(Scores, AverageTokensFirstThenSequences) {
  const auto x = torch::tensor({{1.0F, 0.0F}}), y = torch::tensor({{0.0F, 1.0F}});
  ScoreAccumulator accumulator(1);
  accumulator.add(std::vector<torch::Tensor>{x, x});
  accumulator.add(std::vector<torch::Tensor>{x.repeat({3, 1}), y.repeat({3, 1})});
  const Scores scores = accumulator.finish();
  EXPECT_DOUBLE_EQ(scores.window_cosine(0, 1), 0.5);
  EXPECT_EQ(scores.sequences, 2);
  EXPECT_EQ(scores.tokens, 4);
}

TEST(Scores, CompareTheLargestTokenNormWithTheMedian) {
  // Norms 1, 2, 3, 4 (mean and median 2.5) and 1, 9, 1 (median 1).
  const auto even = torch::tensor({1.0F, 2.0F, 3.0F, 4.0F}).unsqueeze(1);
  const auto odd = torch::tensor({1.0F, 9.0F, 1.0F}).unsqueeze(1);
  ScoreAccumulator accumulator(0);
  accumulator.add(std::vector<torch::Tensor>{even});
  accumulator.add(std::vector<torch::Tensor>{odd});
  const Scores scores = accumulator.finish();
  EXPECT_NEAR(scores.states[0].mean, (2.5 + 11.0 / 3) / 2, 1e-12);
  EXPECT_NEAR(scores.states[0].largest_over_median, (4 / 2.5 + 9) / 2, 1e-12);
}

// Specification check 6.
TEST(Scores, RankAlikeByTheReleasedCodesAffineMap) {
  const Json json = to_json(score_layers(pico_model(tiny_llama(), 3), random_tokens(2, 24, 8), {}));
  ASSERT_EQ(json.at("windows").size(), 6U);
  for (const Json& table : json.at("windows")) {
    double before = 1;
    for (const Json& window : table.at("best_first")) {
      EXPECT_EQ(window.at("half_cosine").get<double>(), 0.5 + 0.5 * window.at("cosine").get<double>());
      EXPECT_LE(window.at("half_cosine").get<double>(), before);
      before = window.at("half_cosine");
    }
  }
}

// Specification check 8.
TEST(Scores, OfTheLastWindowDoNotSeeTheFinalNorm) {
  const auto with_gain = [](float gain) {
    return pico_model(tiny_llama(), 4, [gain](const ExpectedTensor& tensor, std::vector<float>& values) {
      if (tensor.role != Role::final_norm) return;
      for (std::size_t k = 0; k < values.size(); ++k) values[k] = 1 + gain * static_cast<float>(k % 7);
    });
  };
  const TokenBatches batches = random_tokens(2, 16, 9);
  EXPECT_EQ(score_layers(with_gain(0), batches, {}).cosine, score_layers(with_gain(3), batches, {}).cosine);
}

// Specification check 9.
TEST(RankedWindows, AreAllStartsOfALength) {
  const Scores scores = scores_with(6, 3, {0.1, 0.4, 0.4, 0.2});
  const auto windows = ranked_windows(scores, 3, {});
  ASSERT_EQ(windows.size(), 4U);
  EXPECT_EQ(windows[0].start, 1);  // ties go to the earliest
  EXPECT_EQ(windows[1].start, 2);
  EXPECT_EQ(windows[2].start, 3);
  EXPECT_EQ(windows[3].start, 0);
  EXPECT_EQ(windows[3].last(), 2);
  EXPECT_EQ(ranked_windows(scores, 6, {}).size(), 1U);
  EXPECT_ERROR(ranked_windows(scores, 7, {}), usage, "a window of 7 layers: the model has 6");
  EXPECT_ERROR(ranked_windows(scores, 0, {}), usage, "a window of 0 layers");
}

TEST(RankedWindows, LeaveProtectedLayersAlone) {
  const Scores scores = scores_with(6, 3, {0.1, 0.4, 0.3, 0.2});
  const auto windows = ranked_windows(scores, 3, {1});
  ASSERT_EQ(windows.size(), 2U);
  EXPECT_EQ(windows[0].start, 2);
  EXPECT_ERROR(ranked_windows(scores, 3, {2, 3}), usage, "holds a protected layer");
}

// Specification check 10.
TEST(Scores, AreTheSameForEveryBatchSizeAndOrder) {
  const Model model = pico_model(tiny_llama(), 5);
  TokenBatches batches = random_tokens(6, 20, 10);
  batches.sequences[4].resize(11);  // another length runs in a batch of its own
  const Scores together = score_layers(model, batches, {.batch_tokens = 1000});
  const Scores alone = score_layers(model, batches, {.batch_tokens = 1});
  const Scores by_layers = score_layers(model, batches, {.batch_tokens = 1, .order = SweepOrder::layers});
  EXPECT_EQ(to_json(by_layers), to_json(alone));
  std::reverse(batches.sequences.begin(), batches.sequences.end());
  const Scores reversed = score_layers(model, batches, {.batch_tokens = 40});

  ScoreAccumulator stored(6);
  for (const auto& ids : batches.sequences) {
    std::vector<torch::Tensor> rows;
    for (const torch::Tensor& state : hidden_states(model, ids_tensor(ids))) rows.push_back(state[0]);
    stored.add(rows);
  }
  const Scores from_states = stored.finish();
  for (std::size_t k = 0; k < together.cosine.size(); ++k) {
    // The hidden states themselves may differ in the last bit with the batch.
    EXPECT_NEAR(together.cosine[k], alone.cosine[k], kFloatCosine);
    EXPECT_NEAR(together.cosine[k], reversed.cosine[k], kFloatCosine);
    EXPECT_NEAR(alone.cosine[k], from_states.cosine[k], 1e-12);
  }
}

TEST(Scores, LeaveBosOut) {
  const Model model = pico_model(tiny_llama(), 6);
  TokenBatches batches = random_tokens(1, 12, 11);
  batches.skip_first = 1;
  const Scores scores = score_layers(model, batches, {});
  EXPECT_EQ(scores.tokens, 11);
  const auto states = hidden_states(model, ids_tensor(batches.sequences[0]));
  EXPECT_NEAR(scores.window_cosine(1, 3), mean_cosine(states[1][0].slice(0, 1), states[4][0].slice(0, 1)),
              kFloatCosine);
}

TEST(Scores, NameTheLayerThatMakesNaN) {
  const Model model = pico_model(tiny_llama(), 7, [](const ExpectedTensor& tensor, std::vector<float>& values) {
    if (layer_of(tensor) == 2 && tensor.role == Role::down) values[0] = std::numeric_limits<float>::infinity();
  });
  EXPECT_ERROR(score_layers(model, random_tokens(1, 8, 12), {}), numeric, "the output of layer 2 is NaN or infinite");
}

TEST(Scores, NeedTokens) { EXPECT_ERROR(score_layers(pico_model(tiny_llama(), 1), {}, {}), resource, "no tokens"); }

// Specification check 27, for scoring.
TEST(Scores, NeedNoMoreMemoryForMoreSequences) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer keeps freed memory back";
#endif
  const Model model = pico_model(tiny_llama(), 8);
  const auto peak = [&](std::int64_t sequences) {
    const TokenBatches batches = random_tokens(sequences, 64, 13);
    reset_peak_memory();
    score_layers(model, batches, {.batch_tokens = 512});
    return static_cast<double>(peak_resident_memory());
  };
  peak(20);  // what is allocated once
  const double few = peak(20);
  EXPECT_LT(peak(200), 1.05 * few);
}

TEST(MassiveActivationLayers, AreThoseWhereTheLargestNormJumps) {
  Scores scores = scores_with(6, 1, {});
  const double ratios[] = {1.3, 1.6, 1.8, 177, 150, 160, 20};
  for (std::size_t i = 0; i < 7; ++i) scores.states[i].largest_over_median = ratios[i];
  EXPECT_EQ(massive_activation_layers(scores), std::vector<std::int64_t>{2});
}

TEST(MassiveActivationLayers, AreNotThoseThatCarryOrRegainThem) {
  Scores scores = scores_with(5, 1, {});
  // Layer 1 reaches 12 from 4.5, layer 2 doubles it, layer 4 regains what was there before.
  const double ratios[] = {1.2, 4.5, 12, 24, 6, 25};
  for (std::size_t i = 0; i < 6; ++i) scores.states[i].largest_over_median = ratios[i];
  EXPECT_TRUE(massive_activation_layers(scores).empty());
}

}  // namespace
}  // namespace streamline
