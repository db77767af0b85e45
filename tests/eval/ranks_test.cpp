// SPDX-License-Identifier: Apache-2.0
// Figures of ranks that share the text are those of one process, to the bit: each part is computed as there.
#include "heal/pico.h"
#include "streamline/eval/divergence.h"
#include "streamline/eval/likelihood.h"
#include "support/torch/rank_threads.h"

namespace streamline {
namespace {

using test::in_ranks;
using test::pico_model;
using test::random_tokens;
using test::tiny_llama;

EvaluationText text_of(std::int64_t tokens) {
  EvaluationText text;
  text.ids = random_tokens(1, tokens, 2).sequences[0];
  text.bytes = 3 * tokens;
  text.source = "random.txt";
  return text;
}

TEST(EvaluationOfRanks, HasThePerplexityAndDivergenceOfOneProcess) {
  const EvaluationText text = text_of(100);
  const PerplexityOptions options{.window = 16, .stride = 9, .batch_tokens = 32};
  const auto compare = [&](const Placement& placement) {
    const Model source = pico_model(tiny_llama(3), 4, {}, placement),
                model = pico_model(tiny_llama(3), 5, {}, placement);
    return compare_predictions(model, source, source_predictions(source, text, options, {}), text, options, {});
  };
  const ComparedPredictions whole = compare({});
  in_ranks(3, [&](const Ranks& ranks) {
    const ComparedPredictions shared = compare({.ranks = ranks});
    EXPECT_EQ(shared.perplexity.window_nll, whole.perplexity.window_nll);
    EXPECT_EQ(shared.perplexity.value, whole.perplexity.value);
    EXPECT_NEAR(shared.divergence.kl.value, whole.divergence.kl.value, 1e-12 * whole.divergence.kl.value);
    EXPECT_EQ(shared.divergence.kl.count, whole.divergence.kl.count);
    EXPECT_EQ(shared.divergence.kl_median, whole.divergence.kl_median);
    EXPECT_EQ(shared.divergence.kl_largest, whole.divergence.kl_largest);
    EXPECT_DOUBLE_EQ(shared.divergence.same_first_choice.value, whole.divergence.same_first_choice.value);
    ranks.finish(0);
  });
}

TEST(EvaluationOfRanks, HasTheLikelihoodsOfOneProcess) {
  std::vector<LikelihoodRequest> requests;
  for (const auto& tokens : random_tokens(9, 12, 7).sequences)
    requests.push_back({.sequences = {{.tokens = tokens, .scored_from = 8}, {.tokens = tokens, .scored_from = 1}}});
  const LikelihoodOptions options{.batch_tokens = 40};
  const auto whole = likelihoods(pico_model(tiny_llama(), 1), requests, options);
  in_ranks(2, [&](const Ranks& ranks) {
    const auto shared = likelihoods(pico_model(tiny_llama(), 1, {}, {.ranks = ranks}), requests, options);
    ASSERT_EQ(shared.size(), whole.size());
    for (std::size_t i = 0; i < whole.size(); ++i)
      for (std::size_t k = 0; k < whole[i].size(); ++k) {
        EXPECT_EQ(shared[i][k].log_likelihood, whole[i][k].log_likelihood);
        EXPECT_EQ(shared[i][k].greedy, whole[i][k].greedy);
      }
    ranks.finish(0);
  });
}

}  // namespace
}  // namespace streamline
