// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/generate.h"

#include "streamline/base/random.h"
#include "support/core/expect.h"
#include "support/torch/pico.h"

namespace streamline {
namespace {

using namespace test;
using testing::ElementsAre;

Model model_of(const char* family) { return pico_model(family_named(family), {}); }

const std::vector<TokenId> kPrompt = {3, 14, 15, 9, 26};

// The same by reading everything again for every token, without a cache.
std::vector<TokenId> greedy_without_cache(const Model& model, std::vector<TokenId> tokens, std::int64_t count) {
  const torch::NoGradGuard no_grad;
  std::vector<TokenId> result;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::vector<std::int64_t> ids(tokens.begin(), tokens.end());
    const auto logits = forward_logits(model, torch::tensor(ids, torch::kLong).unsqueeze(0));
    result.push_back(static_cast<TokenId>(logits[0][-1].argmax().item<std::int64_t>()));
    tokens.push_back(result.back());
  }
  return result;
}

TEST(Generate, GreedilyTakesTheMostLikelyToken) {
  for (const char* family : {"llama", "mistral", "qwen2", "qwen3", "opt"}) {
    const Model model = model_of(family);
    EXPECT_EQ(generate(model, kPrompt, {.max_tokens = 12}), greedy_without_cache(model, kPrompt, 12)) << family;
  }
}

TEST(Generate, RepeatsItselfForOneSeedAndNotForAnother) {
  const Model model = model_of("llama");
  const GenerateOptions options{.max_tokens = 20, .temperature = 1, .seed = 5};
  GenerateOptions other = options;
  other.seed = 6;
  EXPECT_EQ(generate(model, kPrompt, options), generate(model, kPrompt, options));
  EXPECT_NE(generate(model, kPrompt, options), generate(model, kPrompt, other));
}

TEST(Generate, ANarrowNucleusIsGreedy) {
  const Model model = model_of("llama");
  EXPECT_EQ(generate(model, kPrompt, {.max_tokens = 12, .temperature = 1, .top_p = 1e-9, .seed = 5}),
            generate(model, kPrompt, {.max_tokens = 12}));
}

// By sorting all of the vocabulary.
TokenId drawn(const torch::Tensor& logits, double top_p, std::uint64_t seed) {
  const auto [sorted, tokens] = torch::sort(torch::softmax(logits.to(torch::kDouble), -1), 0, /*descending=*/true);
  std::int64_t count = 0;
  double kept = 0;
  while (kept < top_p) kept += sorted[count++].item<double>();
  double target = Rng(seed).uniform() * kept;
  std::int64_t i = 0;
  while (i + 1 < count && (target -= sorted[i].item<double>()) >= 0) ++i;
  return static_cast<TokenId>(tokens[i].item<std::int64_t>());
}

TEST(Generate, DrawsFromTheNucleus) {
  const torch::NoGradGuard no_grad;
  const Model model = pico_model(family_named("llama"), {.vocab = 1500}, {.dtype = torch::kFloat});
  const std::vector<std::int64_t> ids(kPrompt.begin(), kPrompt.end());
  const auto logits = forward_logits(model, torch::tensor(ids, torch::kLong).unsqueeze(0))[0][-1];
  for (const double top_p : {0.01, 0.3, 0.9})
    for (std::uint64_t seed = 0; seed < 5; ++seed)
      EXPECT_EQ(generate(model, kPrompt, {.max_tokens = 1, .temperature = 1, .top_p = top_p, .seed = seed}).front(),
                drawn(logits, top_p, seed))
          << top_p << " " << seed;
}

TEST(Generate, StopsBeforeAStopToken) {
  const Model model = model_of("llama");
  const auto all = generate(model, kPrompt, {.max_tokens = 12});
  const auto stopped = generate(model, kPrompt, {.max_tokens = 12, .stop = {all[4]}});
  const auto first = std::find(all.begin(), all.end(), all[4]);
  EXPECT_EQ(stopped, std::vector<TokenId>(all.begin(), first));
}

TEST(Generate, StopsWhenItsListenerSaysSo) {
  std::vector<TokenId> heard;
  const auto result = generate(model_of("llama"), kPrompt, {.max_tokens = 12}, [&](TokenId token) {
    heard.push_back(token);
    return heard.size() < 3;
  });
  EXPECT_EQ(result.size(), 3u);
  EXPECT_EQ(heard, result);
}

TEST(Generate, RefusesWhatCannotBeDone) {
  const Model model = model_of("llama");
  EXPECT_ERROR(generate(model, {}, {}), usage, "at least one");
  EXPECT_ERROR(generate(model, kPrompt, {.max_tokens = 60}), mismatch, "64 positions");
  EXPECT_ERROR(generate(model, kPrompt, {.top_p = 0}), usage, "top-p");
}

}  // namespace
}  // namespace streamline
