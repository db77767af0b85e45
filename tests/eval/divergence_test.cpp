// SPDX-License-Identifier: Apache-2.0
#include "streamline/eval/divergence.h"

#include <gmock/gmock.h>

#include <cmath>

#include "heal/pico.h"
#include "streamline/base/random.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

using test::pico_model;
using test::tiny_llama;

EvaluationText some_text(std::int64_t vocab) {
  EvaluationText text;
  text.source = "text";
  Rng rng(3);
  for (int i = 0; i < 100; ++i) text.ids.push_back(static_cast<TokenId>(rng.below(static_cast<std::uint64_t>(vocab))));
  return text;
}

TEST(Divergence, OfAModelFromItselfIsNone) {
  const Model model = pico_model(tiny_llama(3), 4);
  const EvaluationText text = some_text(model.config().vocab);
  const PerplexityOptions options{.window = 16, .stride = 9};
  const SourcePredictions source = source_predictions(model, text, options, {});
  const ComparedPredictions same = compare_predictions(model, model, source, text, options, {});
  EXPECT_EQ(same.divergence.kl.value, 0);
  EXPECT_EQ(same.divergence.rms_difference, 0);
  EXPECT_EQ(same.divergence.same_first_choice.value, 1);
  EXPECT_EQ(same.divergence.log_perplexity_ratio.value, 0);
  EXPECT_EQ(same.divergence.log_perplexity_ratio.standard_error, 0);
  EXPECT_EQ(same.divergence.kl.count, same.perplexity.tokens);
  EXPECT_EQ(same.perplexity.value, perplexity(model, text, options).value);
}

TEST(Divergence, IsWhatAllLogitsGive) {
  const Model source = pico_model(tiny_llama(3), 4), model = source.truncated(2);
  const EvaluationText text = some_text(source.config().vocab);
  const PerplexityOptions options{.window = 20, .batch_tokens = 40};
  const auto predictions = source_predictions(source, text, options, {});
  const ComparedPredictions found = compare_predictions(model, source, predictions, text, options, {});

  std::vector<double> kl, difference;
  double same = 0;
  for (std::int64_t start = 0; start + 20 <= 100; start += 20) {
    const std::vector<std::int64_t> ids(text.ids.begin() + start, text.ids.begin() + start + 20);
    const auto input = torch::tensor(ids).unsqueeze(0);
    const auto p = forward_logits(source, input)[0].to(torch::kDouble).softmax(-1);
    const auto q = forward_logits(model, input)[0].to(torch::kDouble).softmax(-1);
    for (std::int64_t t = 0; t + 1 < 20; ++t) {
      kl.push_back((p[t] * (p[t].log() - q[t].log())).sum().item<double>());
      difference.push_back(
          (q[t][ids[static_cast<std::size_t>(t) + 1]] - p[t][ids[static_cast<std::size_t>(t) + 1]]).item<double>());
      same += p[t].argmax().item<std::int64_t>() == q[t].argmax().item<std::int64_t>() ? 1 : 0;
    }
  }
  const auto mean = [](const std::vector<double>& values, double power) {
    double total = 0;
    for (const double value : values) total += std::pow(value, power);
    return total / static_cast<double>(values.size());
  };
  EXPECT_NEAR(found.divergence.kl.value, mean(kl, 1), 1e-6);
  EXPECT_GT(found.divergence.kl.value, 1e-3);
  EXPECT_NEAR(found.divergence.mean_difference.value, mean(difference, 1), 1e-6);
  EXPECT_NEAR(found.divergence.rms_difference, std::sqrt(mean(difference, 2)), 1e-6);
  EXPECT_NEAR(found.divergence.same_first_choice.value, same / static_cast<double>(kl.size()), 1e-12);
  EXPECT_NEAR(found.divergence.kl_largest, *std::ranges::max_element(kl), 1e-6);
  std::ranges::sort(kl);
  EXPECT_NEAR(found.divergence.kl_median, kl[(kl.size() + 1) / 2 - 1], 1e-6);
}

TEST(Divergence, NeedsOneVocabulary) {
  Json other = tiny_llama(2);
  other["vocab_size"] = 40;
  const Model source = pico_model(tiny_llama(2), 4), model = pico_model(other, 4);
  const EvaluationText text = some_text(40);
  const PerplexityOptions options{.window = 16};
  const auto predictions = source_predictions(source, text, options, {});
  EXPECT_ERROR(compare_predictions(model, source, predictions, text, options, {}), mismatch, "vocabulary of 40");
}

}  // namespace
}  // namespace streamline
