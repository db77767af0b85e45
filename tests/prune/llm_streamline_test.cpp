// SPDX-License-Identifier: Apache-2.0
#include "prune/score_samples.h"
#include "streamline/prune/method.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

using test::scores_with;

// The specification's tiny model: a layer has 46,208 of 310,080 parameters.
constexpr double kLayer = 46208, kTotal = 310080;

class LlmStreamline : public testing::Test {
 protected:
  Proposal propose(const Json& given) {
    const Method& method = find_method("llm-streamline");
    PruneContext context{.model = model, .calibration = calibration, .replacement = replacement, .scores = &scores};
    return method.propose(context, resolve_params(method.params, given, "test"));
  }
  std::pair<std::int64_t, std::int64_t> window(const Json& given) {
    for (const Segment& segment : propose(given).plan.segments) {
      if (segment.action != Action::keep) return {segment.first, segment.count()};
    }
    return {-1, 0};
  }

  Model model = test::pico_model(test::tiny_llama(), 1);
  TokenBatches calibration;
  Scores scores = scores_with(6, 2, {0.1, 0.5, 0.2, 0.9, 0.3});
  ReplacementUse replacement = {};
};

using Window2 = std::pair<std::int64_t, std::int64_t>;

TEST_F(LlmStreamline, CutsTheWindowOfHighestCosine) {
  const Proposal proposal = propose({{"cut", 2}});
  EXPECT_EQ(proposal.windows.front().start, 3);
  EXPECT_EQ(summary(proposal.plan), summary(cut_window(6, 3, 2, "none")));
  EXPECT_EQ(proposal.plan.base.layers, 6);
  EXPECT_EQ(proposal.plan.base.digest, model.checkpoint().digest());
  EXPECT_EQ(proposal.plan.method.name, "llm-streamline");
  EXPECT_EQ(proposal.plan.method.parameters.at("cut"), 2);
  EXPECT_NEAR(proposal.plan.scores.at("margin").get<double>(), 0.4, 1e-12);
  EXPECT_TRUE(proposal.warnings.empty());
}

TEST_F(LlmStreamline, CountsLayersAsThePaperDoes) {
  EXPECT_EQ(window({{"layers", 2}}), Window2(3, 2));
  replacement = {.name = "layer", .layers = 1};
  EXPECT_EQ(window({{"layers", 1}}), Window2(3, 2));  // two are cut, one is put back
  EXPECT_EQ(window({{"cut", 2}}), Window2(3, 2));
}

TEST_F(LlmStreamline, ScoresTheModelWhenNobodyHas) {
  const Method& method = find_method("llm-streamline");
  calibration = test::random_tokens(2, 12, 3);
  PruneContext context{.model = model, .calibration = calibration};
  const Proposal proposal = method.propose(context, resolve_params(method.params, {{"cut", 1}}, "test"));
  EXPECT_EQ(proposal.scores.sequences, 2);
  EXPECT_EQ(proposal.windows.size(), 6U);
}

TEST_F(LlmStreamline, TakesAForcedStart) {
  const Proposal proposal = propose({{"cut", 2}, {"start", 2}});
  EXPECT_EQ(proposal.plan.segments.at(1).first, 2);
  EXPECT_EQ(proposal.windows.front().start, 3);  // what would have been best is still said
  EXPECT_NEAR(proposal.plan.scores.at("margin").get<double>(), 0.2 - 0.9, 1e-12);
}

TEST_F(LlmStreamline, SparesProtectedLayers) {
  EXPECT_EQ(window({{"cut", 2}, {"protect", {4}}}), Window2(1, 2));
  EXPECT_ERROR(propose({{"cut", 2}, {"start", 3}, {"protect", {4}}}), usage,
               "--start 3 cuts layers 3..4 but --protect keeps layer 4");
  EXPECT_ERROR(propose({{"cut", 2}, {"protect", {6}}}), usage, "--protect 6: the model has layers 0..5");
  EXPECT_ERROR(propose({{"cut", 3}, {"protect", {1, 4}}}), usage, "holds a protected layer");
}

TEST_F(LlmStreamline, NeedsExactlyOneSize) {
  EXPECT_ERROR(propose(Json::object()), usage, "exactly one of --layers, --cut and --sparsity; 0 are given: say how");
  EXPECT_ERROR(propose({{"cut", 2}, {"layers", 2}}), usage, "2 are given");
  EXPECT_ERROR(propose({{"cut", 2}, {"layers", 2}, {"sparsity", 0.2}}), usage, "3 are given");
}

TEST_F(LlmStreamline, RefusesSizesOutsideTheModel) {
  EXPECT_ERROR(propose({{"cut", 6}}), usage, "cutting 6 of 6 layers: 1 to 5 can be cut");
  EXPECT_ERROR(propose({{"cut", 0}}), usage, "cut");
  EXPECT_ERROR(propose({{"cut", 2}, {"start", 5}}), usage, "must lie in layers 0..5");
  EXPECT_ERROR(propose({{"cut", 2}, {"start", -1}}), usage, "must lie in layers 0..5");
  replacement = {.name = "layer", .layers = 1};
  EXPECT_ERROR(propose({{"layers", 6}}), usage, "cutting 7 of 6 layers: 1 to 5 can be cut; --layers N cuts 1 more");
  EXPECT_ERROR(propose({{"cut", 6}}), usage, "1 to 5 can be cut");
}

TEST_F(LlmStreamline, RefusesASparsityOutsideZeroToOne) {
  for (const double sparsity : {0.0, 1.0, -0.1, 25.0}) {
    EXPECT_ERROR(propose({{"sparsity", sparsity}}), usage, "sparsity");
  }
}

TEST_F(LlmStreamline, ChoosesTheCutWhoseSavingComesClosestToTheSparsity) {
  EXPECT_EQ(window({{"sparsity", 2.4 * kLayer / kTotal}}).second, 2);
  EXPECT_EQ(window({{"sparsity", 2.6 * kLayer / kTotal}}).second, 3);
  EXPECT_EQ(window({{"sparsity", 0.001}}).second, 1);
  EXPECT_EQ(window({{"sparsity", 0.999}}).second, 5);
  const Proposal two = propose({{"sparsity", 0.3}});
  EXPECT_EQ(two.plan.scores.at("parameters_saved"), 310080 - 217664);  // specification check 11
  EXPECT_NEAR(two.plan.scores.at("sparsity").get<double>(), 2 * kLayer / kTotal, 1e-12);
}

TEST_F(LlmStreamline, CountsWhatTheReplacementAdds) {
  // A layer put back costs as much as one cut: the same saving needs one more.
  replacement = {.name = "layer", .layers = 1, .parameters = [](std::int64_t) { return std::int64_t{46208}; }};
  EXPECT_EQ(window({{"sparsity", 2.4 * kLayer / kTotal}}).second, 3);
  // The paper's FFN: 33,088 parameters.
  replacement = {.name = "ffn", .parameters = [](std::int64_t) { return std::int64_t{33088}; }};
  EXPECT_EQ(propose({{"cut", 2}}).plan.scores.at("parameters_saved"), 310080 - 250752);
}

// Of each of two windows a layer is put back: four are cut to save two.
TEST_F(LlmStreamline, CountsWhatEveryWindowPutsBack) {
  replacement = {.name = "layer", .layers = 1, .parameters = [](std::int64_t) { return std::int64_t{46208}; }};
  const Proposal proposal = propose({{"sparsity", 2 * kLayer / kTotal}, {"windows", 2}});
  EXPECT_EQ(summary(proposal.plan), summary(cut_windows(6, {{1, 2}, {3, 2}}, "layer")));
  EXPECT_NEAR(proposal.plan.scores.at("sparsity").get<double>(), 2 * kLayer / kTotal, 1e-12);
}

// No window of all four layers spares layer 2; two of two layers do.
TEST_F(LlmStreamline, FindsRoomForSeveralWindowsWhereOneHasNone) {
  const Proposal proposal = propose({{"cut", 4}, {"windows", 2}, {"protect", {2}}});
  EXPECT_EQ(summary(proposal.plan), summary(cut_windows(6, {{0, 2}, {3, 2}}, "none")));
  EXPECT_TRUE(proposal.windows.empty());
  EXPECT_ERROR(propose({{"cut", 2}, {"windows", 3}}), usage, "3 windows of 2 layers to cut");
  EXPECT_ERROR(propose({{"sparsity", 0.5}, {"windows", 6}}), usage, "6 windows of 5 layers to cut");
}

TEST_F(LlmStreamline, ComparesWithWindowsThatTheReplacementAllows) {
  scores = scores_with(6, 2, {0.8, 0.5, 0.2, 0.9, 0.3});
  replacement = {.name = "lines", .before = 1};
  const Proposal proposal = propose({{"cut", 2}});
  EXPECT_EQ(proposal.windows.size(), 4U);  // that of layers 0..1 has no layer before it
  EXPECT_NEAR(proposal.plan.scores.at("margin").get<double>(), 0.9 - 0.5, 1e-12);
  EXPECT_EQ(proposal.plan.scores.at("best_other_start"), 1);
  EXPECT_ERROR(propose({{"cut", 6}}), usage, "cutting 6 of 6 layers: 1 to 5 can be cut");
}

TEST_F(LlmStreamline, WarnsOfAWindowThatTakesMassiveActivations) {
  for (std::size_t i = 5; i <= 6; ++i) scores.states[i].largest_over_median = 180;  // made by layer 4
  const Proposal proposal = propose({{"cut", 2}});
  ASSERT_EQ(proposal.warnings.size(), 1U);
  EXPECT_THAT(proposal.warnings[0], testing::HasSubstr("the window 3..4 takes layer 4"));
  EXPECT_THAT(proposal.warnings[0], testing::HasSubstr("--protect 4"));
  EXPECT_TRUE(propose({{"cut", 2}, {"protect", {4}}}).warnings.empty());
}

TEST(Methods, AreFoundByName) {
  EXPECT_EQ(find_method("llm-streamline").name, "llm-streamline");
  EXPECT_ERROR(find_method("streamline"), usage,
               "no pruning method 'streamline'; there are: llm-streamline, shortgpt, angular, deepest, ");
}

TEST(Methods, HaveNamesOfTheirOwn) {
  for (const Method* method : methods()) {
    EXPECT_EQ(&find_method(method->name), method);
    EXPECT_FALSE(method->title.empty());
    EXPECT_FALSE(method->paper.empty());
    for (const Param& param : method->params) EXPECT_FALSE(param.help.empty()) << param.name;
  }
}

}  // namespace
}  // namespace streamline
