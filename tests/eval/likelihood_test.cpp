// SPDX-License-Identifier: Apache-2.0
#include "streamline/eval/likelihood.h"

#include <gmock/gmock.h>

#include "streamline/base/random.h"
#include "streamline/eval/packed_requests.h"
#include "support/core/expect.h"
#include "support/torch/pico.h"

namespace streamline {
namespace {

using Sequence = LikelihoodRequest::Sequence;

// As the definition has it: every sequence by itself, through the whole model, the softmax in double.
Likelihood naive(const Model& model, const Sequence& sequence) {
  const std::vector<std::int64_t> tokens(sequence.tokens.begin(), sequence.tokens.end());
  const auto input = torch::tensor(tokens).slice(0, 0, -1).unsqueeze(0);
  const auto logits = forward_logits(model, input).squeeze(0).to(torch::kDouble).log_softmax(-1);
  Likelihood result;
  for (std::size_t i = sequence.scored_from; i < tokens.size(); ++i) {
    const auto row = logits[static_cast<std::int64_t>(i) - 1];
    result.log_likelihood += row[tokens[i]].item<double>();
    result.greedy = result.greedy && row.argmax().item<std::int64_t>() == tokens[i];
  }
  return result;
}

std::vector<TokenId> draw(Rng& rng, std::size_t count) {
  std::vector<TokenId> tokens;
  for (std::size_t i = 0; i < count; ++i) tokens.push_back(static_cast<TokenId>(rng.below(64)));
  return tokens;
}

std::vector<TokenId> joined(std::vector<TokenId> a, const std::vector<TokenId>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Questions behind the same ten tokens, with two to four choices of one token and more; in some all text is scored.
std::vector<LikelihoodRequest> questions(std::size_t count, std::uint64_t seed) {
  Rng rng(seed);
  const std::vector<TokenId> header = draw(rng, 10);
  std::vector<LikelihoodRequest> result;
  for (std::size_t i = 0; i < count; ++i) {
    const std::vector<TokenId> context = joined(header, draw(rng, 1 + rng.below(14)));
    LikelihoodRequest request;
    for (std::size_t choice = 0; choice < 2 + i % 3; ++choice)
      request.sequences.push_back({.tokens = joined(context, draw(rng, 1 + (i % 4 == 3 ? 0 : rng.below(9)))),
                                   .scored_from = i % 5 == 4 ? 1 : context.size()});
    result.push_back(std::move(request));
  }
  return result;
}

void expect_naive(const Model& model, const std::vector<LikelihoodRequest>& requests, const LikelihoodOptions& options,
                  double tolerance = 1e-4) {
  const auto results = likelihoods(model, requests, options);
  ASSERT_EQ(results.size(), requests.size());
  for (std::size_t i = 0; i < requests.size(); ++i) {
    ASSERT_EQ(results[i].size(), requests[i].sequences.size());
    for (std::size_t choice = 0; choice < results[i].size(); ++choice) {
      const Likelihood expected = naive(model, requests[i].sequences[choice]);
      EXPECT_NEAR(results[i][choice].log_likelihood, expected.log_likelihood, tolerance) << i << "/" << choice;
      EXPECT_EQ(results[i][choice].greedy, expected.greedy) << i << "/" << choice;
    }
  }
}

class LikelihoodsOf : public testing::TestWithParam<const char*> {};

TEST_P(LikelihoodsOf, AreThoseOfOneSequenceAtATimeInAnyBatch) {
  test::PicoOptions pico;
  if (std::string_view(GetParam()) == "mistral") pico.extra["sliding_window"] = 7;
  const Model model = test::pico_model(test::family_named(GetParam()), pico);
  const auto requests = questions(12, 3);
  for (const std::int64_t batch_tokens : {1, 90, 4000})
    for (const bool share : {true, false}) {
      SCOPED_TRACE(testing::Message() << batch_tokens << " tokens, share " << share);
      expect_naive(model, requests, {.batch_tokens = batch_tokens, .share = share});
    }
}

INSTANTIATE_TEST_SUITE_P(Families, LikelihoodsOf,
                         testing::Values("llama", "mistral", "qwen3", "gemma2", "opt", "gpt2", "mixtral", "gpt_neox"));

TEST(Likelihoods, DoNotDependOnTheOrder) {
  const Model model = test::pico_model(test::family_named("llama"), {});
  auto requests = questions(9, 5);
  const auto forwards = likelihoods(model, requests, {});
  std::reverse(requests.begin(), requests.end());
  const auto backwards = likelihoods(model, requests, {});
  for (std::size_t i = 0; i < requests.size(); ++i)
    for (std::size_t choice = 0; choice < forwards[i].size(); ++choice)
      EXPECT_NEAR(forwards[i][choice].log_likelihood, backwards[requests.size() - 1 - i][choice].log_likelihood, 1e-5);
}

TEST(Likelihoods, OfAnglesThatDependOnTheLengthAreExactToo) {
  test::PicoOptions pico;
  pico.extra["original_max_position_embeddings"] = 16;
  pico.extra["rope_scaling"] = {{"type", "longrope"}, {"short_factor", {1.0, 1.0}}, {"long_factor", {1.0, 3.0}}};
  const Model model = test::pico_model(test::family_named("phi3"), pico);
  ASSERT_TRUE(length_decides_angles(model.config(), 20));
  ASSERT_FALSE(length_decides_angles(model.config(), 16));
  expect_naive(model, questions(6, 9), {});
}

TEST(Likelihoods, KnowTheModelsOwnContinuation) {
  const Model model = test::pico_model(test::family_named("llama"), {});
  std::vector<std::int64_t> tokens = {5, 9, 2};
  for (int i = 0; i < 4; ++i) {
    const auto logits = forward_logits(model, torch::tensor(tokens).unsqueeze(0));
    tokens.push_back(logits[0][-1].argmax().item<std::int64_t>());
  }
  Sequence own{.tokens = {tokens.begin(), tokens.end()}, .scored_from = 3}, other = own;
  other.tokens.back() = (other.tokens.back() + 1) % 64;
  const auto results = likelihoods(model, {{.sequences = {own, other}}}, {});
  EXPECT_TRUE(results[0][0].greedy);
  EXPECT_FALSE(results[0][1].greedy);
}

TEST(Likelihoods, RefuseWhatTheModelCannotRead) {
  const Model model = test::pico_model(test::family_named("llama"), {});
  EXPECT_ERROR(likelihoods(model, {{.sequences = {{.tokens = {1, 64}}}}}, {}), mismatch, "token id 64");
  EXPECT_ERROR(likelihoods(model, {{.sequences = {{.tokens = std::vector<TokenId>(66, 1)}}}}, {}), mismatch,
               "66 tokens; the model has 64 positions");
}

TEST(Packing, ComputesCommonBeginningsOnce) {
  const std::vector<TokenId> header(20, 1);
  const Sequence a{.tokens = joined(header, {2, 3, 4}), .scored_from = 20},
      b{.tokens = joined(header, {5, 6}), .scored_from = 20}, c{.tokens = joined(header, {7}), .scored_from = 20};
  const std::vector<const Sequence*> sequences = {&a, &b, &c};
  const PackedRequests shared = pack(sequences, true), apart = pack(sequences, false);
  EXPECT_EQ(shared.packing.rows(), 20 + 2 + 1);  // the last token of each is not read
  EXPECT_EQ(apart.packing.rows(), 22 + 21 + 20);
  EXPECT_THAT(shared.head_rows, testing::ElementsAre(19, 20, 21, 22));
  EXPECT_EQ(shared.targets.size(), 6U);
}

TEST(Packing, LeavesShortCommonBeginningsWhereTheyAre) {
  const Sequence a{.tokens = {1, 2, 3, 4, 5}}, b{.tokens = {1, 2, 3, 6, 7}};
  const std::vector<const Sequence*> sequences = {&a, &b};
  EXPECT_EQ(pack(sequences, true).packing.rows(), 8);
}

}  // namespace
}  // namespace streamline
