// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/heal_plan.h"

#include "streamline/heal/candidates.h"
#include "tests/heal/pico.h"
#include "tests/support/core/expect.h"
#include "tests/support/core/temporary_directory.h"

namespace streamline {
namespace {

using test::pico_model;
using test::random_tokens;

const HealOptions kShort{.learning_rate = 2e-3, .epochs = 2, .batch_tokens = 64};

TEST(Networks, OfAChoiceShareTheWindowOut) {
  const Plan plan = with_networks(cut_window(8, 2, 5, "layer"), ReplacementChoice(find_replacement("layer"), 2));
  ASSERT_EQ(plan.segments.size(), 4u);
  EXPECT_EQ(plan.segments[1].first, 2);
  EXPECT_EQ(plan.segments[1].last, 3);
  EXPECT_EQ(plan.segments[2].first, 4);
  EXPECT_EQ(plan.segments[2].last, 6);
  const Plan folded = with_networks(cut_window(8, 1, 5, "linear"), find_replacement("linear"));
  ASSERT_EQ(folded.segments.size(), 2u);  // the layer before is all there was before
  EXPECT_EQ(folded.segments[0].first, 0);
  EXPECT_EQ(folded.segments[0].last, 5);
}

TEST(Networks, AreReadAsAUserWritesThem) {
  EXPECT_EQ(parse_replacement("layer:3").count, 3);
  EXPECT_EQ(parse_replacement("ffn").count, 1);
  EXPECT_ERROR(parse_replacement("layer:0"), usage, "how many in a row");
  EXPECT_ERROR(parse_replacement("layer:two"), usage, "how many in a row");
  EXPECT_ERROR(parse_replacement("linear:2"), usage, "there is one");
  EXPECT_ERROR(with_networks(cut_window(8, 0, 3, "linear"), find_replacement("linear")), usage, "none that stays");
  EXPECT_ERROR(with_networks(cut_window(8, 2, 1, "layer"), ReplacementChoice(find_replacement("layer"), 2)), usage,
               "at most one a layer");
}

// Both windows are healed, the second on what the first has left.
TEST(HealPlan, HealsOneWindowAfterTheOther) {
  const Model model = pico_model(test::tiny_llama(8), 1);
  for (const char* name : {"layer", "linear", "swiglu-residual"}) {
    SCOPED_TRACE(name);
    const Plan plan = cut_windows(8, {{1, 2}, {5, 2}}, name);
    const HealedPlan healed = heal_plan(model, plan, find_replacement(name), random_tokens(40, 16, 1),
                                        random_tokens(4, 16, 2), {.heal = kShort});
    ASSERT_EQ(healed.windows.size(), 2u);
    ASSERT_EQ(healed.replacements.size(), 2u);
    EXPECT_EQ(healed.windows[1].first, 5);
    for (const HealedPlanWindow& window : healed.windows) EXPECT_FALSE(worse_than_nothing(window.result));
    const Model view = model.view(healed.plan, healed.replacements);
    EXPECT_EQ(view.layer_count(), std::string(name) == "linear" ? 4 : 6);
    const auto ids = to_tensor(random_tokens(2, 9, 3), {0, 1}, torch::kCPU);
    EXPECT_TRUE(torch::isfinite(forward_logits(view, ids)).all().item<bool>());
    const HealResult alone =
        heal_window(model, 1, 2, find_replacement(name), random_tokens(40, 16, 1), random_tokens(4, 16, 2), kShort);
    EXPECT_EQ(alone.last().best, healed.windows[0].result.last().best);
  }
}

// The second window is the same, and what stands in front of it is as large.
TEST(HealPlan, DoesNotGoOnFromAStateBehindOtherLayers) {
  const test::TemporaryDirectory directory;
  const Model model = pico_model(test::tiny_llama(8), 1);
  const auto healed = [&](std::int64_t first) {
    return heal_plan(model, cut_windows(8, {{first, 2}, {5, 2}}, "layer"), find_replacement("layer"),
                     random_tokens(20, 16, 1), random_tokens(4, 16, 2),
                     {.heal = kShort, .state_directory = directory.path()});
  };
  const HealResult second = healed(1).windows[1].result;
  EXPECT_TRUE(test::same(healed(1).windows[1].result.weights.front(), second.weights.front()));
  EXPECT_ERROR(healed(2), mismatch, "the state of another run");
}

TEST(HealPlan, RefusesStatesOfOtherRunsBeforeTheWork) {
  const test::TemporaryDirectory directory;
  const Model model = pico_model(test::tiny_llama(8), 1);
  const TokenBatches text = random_tokens(20, 16, 1), validation = random_tokens(4, 16, 2);
  const ReplacementChoice choice = find_replacement("layer");
  const HealPlanOptions options{.heal = kShort, .state_directory = directory.path() / "state"};
  const auto check = [&](const Plan& plan, const TokenBatches& training, const HealPlanOptions& given) {
    check_states(model, plan, choice, training, validation, given);
  };
  const Plan plan = cut_windows(8, {{1, 2}, {5, 2}}, "layer");
  check(plan, text, options);  // there are none
  std::filesystem::create_directory(options.state_directory);
  heal_plan(model, plan, choice, text, validation, options);
  check(plan, text, options);
  EXPECT_ERROR(check(cut_windows(8, {{1, 2}}, "layer"), text, options), mismatch, "the state of another plan");
  EXPECT_ERROR(check(cut_windows(8, {{1, 3}, {5, 2}}, "layer"), text, options), mismatch, "what differs: window)");
  EXPECT_ERROR(check(cut_windows(8, {{1, 2}, {5, 2}}, "layer"), random_tokens(20, 16, 3), options), mismatch,
               "window-1.safetensors: is the state of another run (what differs: text)");
  HealPlanOptions other = options;
  other.heal.learning_rate *= 2;
  EXPECT_ERROR(check(plan, text, other), mismatch, "learning rate");
}

TEST(HealPlan, ReadsNoStatesThatOtherLayersGave) {
  const test::TemporaryDirectory directory;
  const Model model = pico_model(test::tiny_llama(8), 1);
  const auto nothing_without = [&](std::int64_t dropped, const std::optional<StateCacheOptions>& cache) {
    Plan plan{.base = {.layers = 8}};
    plan.segments = {{.first = 0, .last = dropped - 1},
                     {.first = dropped, .last = dropped, .action = Action::drop},
                     {.first = dropped + 1, .last = 4},
                     {.first = 5, .last = 6, .action = Action::replace, .replacement = "layer"},
                     {.first = 7, .last = 7}};
    HealPlanOptions options{.heal = kShort};
    options.heal.cache = cache;
    return heal_plan(model, plan, find_replacement("layer"), random_tokens(20, 16, 1), random_tokens(4, 16, 2), options)
        .windows.front()
        .result.last()
        .nothing;
  };
  const StateCacheOptions cache{
      .directory = directory.path() / "cache", .limit = 1'000'000'000, .dtype = torch::kFloat32};
  const double first = nothing_without(1, cache), second = nothing_without(2, cache);
  EXPECT_GT(std::abs(first - second), 1e-3 * first);
  EXPECT_NEAR(second, nothing_without(2, {}), 1e-5 * second);
}

TEST(Candidates, AreTriedAndTheBestOneIsNamed) {
  const Model model = pico_model(test::tiny_llama(), 1);
  EvaluationText text;
  for (const auto& sequence : random_tokens(6, 16, 2).sequences)
    text.ids.insert(text.ids.end(), sequence.begin(), sequence.end());
  PerplexityOptions options;
  options.window = 16;
  std::vector<Candidate> candidates;
  for (const char* name : {"none", "layer", "linear"}) candidates.push_back({name, cut_window(6, 2, 2, name)});
  const auto results =
      try_candidates(model, candidates, random_tokens(40, 16, 1), random_tokens(4, 16, 2), kShort, text, options, {});
  ASSERT_EQ(results.size(), 3u);
  const std::size_t best = best_candidate(results);
  for (const CandidateResult& result : results) {
    EXPECT_TRUE(result.refused.empty());
    EXPECT_GE(result.perplexity, results[best].perplexity);
  }
  EXPECT_EQ(results[0].perplexity, perplexity(model.view(cut_window(6, 2, 2), {}), text, options, {}).value);
}

TEST(Candidates, ThatDoNotApplyAreLeftOut) {
  Json json = test::tiny_llama();
  json["model_type"] = "olmo2";
  const Model model = pico_model(json, 1);
  EvaluationText text;
  text.ids = random_tokens(1, 64, 2).sequences.front();
  PerplexityOptions options;
  options.window = 16;
  const auto results = try_candidates(model, {{"linear", cut_window(6, 2, 2, "linear")}}, random_tokens(8, 16, 1),
                                      random_tokens(2, 16, 2), kShort, text, options, {});
  EXPECT_NE(results[0].refused.find("a norm stands between"), std::string::npos);
  EXPECT_ERROR(best_candidate(results), unsupported, "none of the candidates");
  const auto unwritable =
      try_candidates(model, {{"none", cut_window(6, 2, 2), "it has no name"}, {"none", cut_window(6, 2, 2)}},
                     random_tokens(8, 16, 1), random_tokens(2, 16, 2), kShort, text, options, {});
  EXPECT_EQ(unwritable[0].refused, "it has no name");
  EXPECT_EQ(best_candidate(unwritable), 1U);
}

}  // namespace
}  // namespace streamline
