// SPDX-License-Identifier: Apache-2.0
#include "streamline/eval/perplexity.h"

#include <cmath>

#include "heal/pico.h"
#include "streamline/eval/token_loss.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

using test::pico_model;
using test::tiny_llama;

constexpr double kFloat = 2e-6;  // nats a token: logits computed in fp32 in another order

EvaluationText random_text(std::int64_t tokens, std::uint64_t seed) {
  EvaluationText text;
  text.ids = test::random_tokens(1, tokens, seed).sequences[0];
  text.bytes = 3 * tokens;
  text.source = "random.txt";
  return text;
}

// -log p(ids[t]) for t >= first, one window read alone, in float64 from the logits on.
double naive_nll(const Model& model, std::vector<std::int64_t> ids, std::size_t first) {
  const auto logits = forward_logits(model, torch::tensor(ids).unsqueeze(0))[0].to(torch::kFloat64);
  const auto log_p = torch::log_softmax(logits, -1);
  double nll = 0;
  for (std::size_t t = first; t < ids.size(); ++t) {
    nll -= log_p[static_cast<std::int64_t>(t) - 1][ids[t]].item<double>();
  }
  return nll;
}

std::vector<std::int64_t> slice(const EvaluationText& text, std::int64_t first, std::int64_t count) {
  return {text.ids.begin() + first, text.ids.begin() + first + count};
}

TEST(Perplexity, IsThatOfWindowsReadAlone) {
  const Model model = pico_model(tiny_llama(), 1);
  const EvaluationText text = random_text(100, 2);  // three windows of 32; four tokens are left over
  double nll = 0;
  for (std::int64_t window = 0; window < 3; ++window) nll += naive_nll(model, slice(text, 32 * window, 32), 1);
  const PerplexityResult result = perplexity(model, text, {.window = 32});
  EXPECT_EQ(result.windows, 3);
  EXPECT_EQ(result.tokens, 93);
  EXPECT_NEAR(result.mean_nll, nll / 93, kFloat);
  EXPECT_DOUBLE_EQ(result.value, std::exp(result.mean_nll));
  EXPECT_NEAR(result.bits_per_byte, nll / 93 / std::log(2.0) / 3, kFloat);
}

TEST(Perplexity, DoesNotDependOnTheBatch) {
  const Model model = pico_model(tiny_llama(), 3);
  const EvaluationText text = random_text(160, 4);
  const PerplexityResult together = perplexity(model, text, {.window = 32, .batch_tokens = 1000});
  const PerplexityResult alone = perplexity(model, text, {.window = 32, .batch_tokens = 1});
  ASSERT_EQ(together.window_nll.size(), 5U);
  for (std::size_t k = 0; k < 5; ++k) EXPECT_NEAR(together.window_nll[k], alone.window_nll[k], 32 * kFloat);
}

TEST(Perplexity, WithAStrideScoresEachTokenOnce) {
  const Model model = pico_model(tiny_llama(), 5);
  const EvaluationText text = random_text(57, 6);
  // Windows at 0, 8, 16, 24 of 32 tokens; the first scores 31, the others their last 8.
  double nll = naive_nll(model, slice(text, 0, 32), 1);
  for (const std::int64_t start : {8, 16, 24}) nll += naive_nll(model, slice(text, start, 32), 24);
  const PerplexityResult result = perplexity(model, text, {.window = 32, .stride = 8});
  EXPECT_EQ(result.windows, 4);
  EXPECT_EQ(result.tokens, 31 + 3 * 8);
  EXPECT_NEAR(result.mean_nll, nll / 55, kFloat);
}

TEST(Perplexity, WithBosReadsItAndScoresTheSameTokens) {
  const Model model = pico_model(tiny_llama(), 7);
  const EvaluationText text = random_text(40, 8);
  double nll = 0;
  for (const std::int64_t start : {0, 20}) {
    std::vector<std::int64_t> ids = slice(text, start, 20);
    ids.insert(ids.begin(), 1);
    nll += naive_nll(model, ids, 2);
  }
  const PerplexityResult result = perplexity(model, text, {.window = 20, .bos = true}, TokenId{1});
  EXPECT_EQ(result.tokens, 38);
  EXPECT_NEAR(result.mean_nll, nll / 38, kFloat);
  EXPECT_GT(std::abs(result.mean_nll - perplexity(model, text, {.window = 20}).mean_nll), 100 * kFloat);
}

TEST(Perplexity, TakesOnlyTheFirstWindowsWhenAsked) {
  const Model model = pico_model(tiny_llama(), 9);
  const EvaluationText text = random_text(100, 10);
  const PerplexityResult all = perplexity(model, text, {.window = 20});
  const PerplexityResult two = perplexity(model, text, {.window = 20, .max_windows = 2});
  EXPECT_EQ(all.windows, 5);
  EXPECT_EQ(two.windows, 2);
  EXPECT_NEAR(two.window_nll[1], all.window_nll[1], 20 * kFloat);
}

TEST(Perplexity, OfAModelThatKnowsNothingIsTheVocabulary) {
  const Model model = pico_model(tiny_llama(), 11, [](const ExpectedTensor& tensor, std::vector<float>& values) {
    if (tensor.role == Role::head) values.assign(values.size(), 0.0F);
  });
  const PerplexityResult result = perplexity(model, random_text(64, 12), {.window = 16});
  EXPECT_NEAR(result.value, 256, 1e-9);
  EXPECT_NEAR(result.standard_error.value(), 0, 1e-9);
}

// The study of depth pruning, check 6: windows with means of 1 and 3 nats. A token of these predicts itself, by a head
// that knows no other.
TEST(Perplexity, DepthStudyCheck6OfTheTextIsNotTheMeanOfItsWindows) {
  const Model model = pico_model(tiny_llama(2), 11, [](const ExpectedTensor& tensor, std::vector<float>& values) {
    const bool table = tensor.role == Role::token_embedding || tensor.role == Role::head;
    if (tensor.role == Role::final_norm) values.assign(values.size(), 1.0F);
    if (test::writes_to_stream(tensor) || table) values.assign(values.size(), 0.0F);
    if (!table) return;
    const double width = 64, others = 255;
    for (const std::size_t token : {1U, 2U}) {
      // A normed state has a root mean square of 1, so that its one component is the root of the width.
      const double nats = token == 1 ? 1 : 3, logit = std::log(others / (std::exp(nats) - 1));
      values[token * 64 + token] = tensor.role == Role::head ? static_cast<float>(logit / std::sqrt(width)) : 100.0F;
    }
  });
  EvaluationText text = random_text(32, 1);
  for (std::size_t i = 0; i < 32; ++i) text.ids[i] = i < 16 ? 1 : 2;
  const PerplexityResult result = perplexity(model, text, {.window = 16});
  EXPECT_NEAR(mean_of_windows(result), 11.4019, 1e-4);
  EXPECT_NEAR(result.value, 7.3891, 1e-4);
}

// Unreasonable ineffectiveness, check 11: the divisors of its normalised loss.
TEST(Perplexity, UnreasonableCheck11OfConstantLogitsIsTheVocabularyOfAnySize) {
  for (const auto& [vocabulary, nats] :
       {std::pair(32000, 10.3735), std::pair(51200, 10.8435), std::pair(151936, 11.9312)}) {
    Json json = tiny_llama(1);
    json.update({{"vocab_size", vocabulary}, {"hidden_size", 16}, {"intermediate_size", 16}, {"head_dim", 4}});
    const Model model = pico_model(json, 11, [](const ExpectedTensor& tensor, std::vector<float>& values) {
      if (tensor.role == Role::head) values.assign(values.size(), 0.0F);
    });
    const PerplexityResult result = perplexity(model, random_text(64, 12), {.window = 16});
    EXPECT_NEAR(result.mean_nll, nats, 5e-5);
    EXPECT_NEAR(result.mean_nll / std::log(vocabulary), 1, 1e-9);
  }
}

// d exp(m) = exp(m) dm, and m is a ratio of sums over windows.
TEST(Perplexity, HasAStandardErrorFromItsWindows) {
  const PerplexityResult result = perplexity(pico_model(tiny_llama(), 13), random_text(96, 14), {.window = 24});
  MeanAccumulator means;
  for (const double nll : result.window_nll) means.add(nll / 23);
  EXPECT_NEAR(result.standard_error.value(), result.value * means.estimate().standard_error.value(),
              1e-9 * result.value);
  EXPECT_GT(result.standard_error.value(), 0);
}

TEST(Perplexity, OfOneWindowHasNoStandardError) {
  const EvaluationText text = random_text(24, 14);
  const PerplexityOptions options{.window = 24};
  const PerplexityResult result = perplexity(pico_model(tiny_llama(), 13), text, options);
  EXPECT_FALSE(result.standard_error);
  EXPECT_TRUE(to_json(result, options, text).at("standard_error").is_null());
  EXPECT_TRUE(to_json(log_perplexity_ratio(result, result)).at("standard_error").is_null());
}

// Specification check 25: a view of the model computes what substituting hidden states does.
TEST(Perplexity, OfACutIsThatOfSubstitutedHiddenStates) {
  const Model model = pico_model(tiny_llama(), 15);
  const EvaluationText text = random_text(48, 16);
  double nll = 0;
  for (const std::int64_t start : {0, 24}) {
    const auto ids = torch::tensor(slice(text, start, 24)).unsqueeze(0);
    torch::Tensor x = hidden_states(model, ids)[2];  // leaves layer 1; layers 2..3 are skipped
    const Positions positions = rope_positions(model.config(), 0, 24, torch::kCPU);
    for (const std::int64_t layer : {4, 5}) x = block_forward(model.config(), model.layer(layer), x, positions);
    const auto log_p = torch::log_softmax(model.logits(x)[0].to(torch::kFloat64), -1);
    for (std::int64_t t = 1; t < 24; ++t) nll -= log_p[t - 1][ids[0][t].item<std::int64_t>()].item<double>();
  }
  const PerplexityResult result = perplexity(model.view(cut_window(6, 2, 2), {}), text, {.window = 24});
  EXPECT_NEAR(result.mean_nll, nll / 46, kFloat);
}

// Specification check 16: a mean over the T - 1 scored tokens, said so, and never confused with its exponential.
TEST(PerplexityJson, SaysWhatWasMeasured) {
  const PerplexityOptions options{.window = 16, .stride = 4};
  const EvaluationText text = random_text(20, 18);
  const PerplexityResult result = perplexity(pico_model(tiny_llama(), 17), text, options);
  const Json json = to_json(result, options, text);
  double sum = 0;
  for (const double nll : result.window_nll) sum += nll;
  EXPECT_EQ(json.at("tokens"), 19);  // of 20: the first has no prediction
  EXPECT_DOUBLE_EQ(json.at("mean_nll").get<double>(), sum / 19);
  EXPECT_DOUBLE_EQ(json.at("value").get<double>(), std::exp(sum / 19));
  EXPECT_EQ(json.at("windows"), 2);
  EXPECT_EQ(json.at("window"), 16);
  EXPECT_EQ(json.at("stride"), 4);
  EXPECT_EQ(json.at("bos"), false);
  EXPECT_EQ(json.at("text").at("source"), "random.txt");
  EXPECT_EQ(json.at("text").at("tokens"), 20);
}

TEST(Perplexity, RefusesWhatItCannotMeasure) {
  const Model model = pico_model(tiny_llama(), 19);
  const EvaluationText text = random_text(40, 20);
  EXPECT_ERROR(perplexity(model, text, {.window = 1}), usage, "a window of 1 tokens scores nothing");
  EXPECT_ERROR(perplexity(model, text, {.window = 16, .stride = 17}), usage, "a stride of 17");
  EXPECT_ERROR(perplexity(model, text, {.window = 16, .bos = true}), usage, "this tokenizer has none");
  EXPECT_ERROR(perplexity(model, text, {.window = 41}), resource, "random.txt: 40 tokens; one window needs 41");
  EXPECT_ERROR(perplexity(model, random_text(300, 21), {.window = 200}), mismatch, "128 positions");
  EvaluationText foreign = text;
  foreign.ids[3] = 256;
  EXPECT_ERROR(perplexity(model, foreign, {.window = 16}), mismatch, "256");
}

TEST(Perplexity, NamesTheWindowWhoseLogitsAreNotFinite) {
  const Model model = pico_model(tiny_llama(), 22, [](const ExpectedTensor& tensor, std::vector<float>& values) {
    if (tensor.role == Role::head) values[7] = std::numeric_limits<float>::quiet_NaN();
  });
  EXPECT_ERROR(perplexity(model, random_text(32, 23), {.window = 16}), numeric, "window 0 of the text");
}

TEST(TokenLosses, OfAVocabularyInPiecesAreThoseOfTheWhole) {
  Json json = tiny_llama(1);
  json["vocab_size"] = 5000;
  const Model model = pico_model(json, 24);
  torch::manual_seed(25);
  constexpr std::int64_t kRows = 3000;  // 5000 x 3000 logits are more than are kept at once
  const auto hidden = torch::randn({kRows, 64});
  std::vector<TokenTarget> targets;  // none, one or two a row
  for (std::int64_t row = 0; row < kRows; ++row)
    for (std::int64_t i = 0; i < row % 3; ++i) targets.push_back({row, (row * 7919 + i) % 5000});
  targets.push_back({0, model.logits(hidden[0]).argmax().item<std::int64_t>()});
  const auto pieces = token_scores(model, hidden, targets), whole = token_scores_by_tensors(model, hidden, targets);
  ASSERT_EQ(pieces.size(), targets.size());
  ASSERT_EQ(whole.size(), targets.size());
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_NEAR(pieces[i].loss, whole[i].loss, 5e-6) << "target " << i;
    EXPECT_EQ(pieces[i].likeliest, whole[i].likeliest) << "target " << i;
  }
  EXPECT_TRUE(pieces.back().likeliest);
}

}  // namespace
}  // namespace streamline
