// SPDX-License-Identifier: Apache-2.0
// The checks of LaCo's specification, by number.
#include "prune/method_fixture.h"
#include "streamline/prune/layer_collapse.h"
#include "streamline/prune/merge_candidates.h"

namespace streamline {
namespace {

using test::pico_model;
using test::random_tokens;
using test::tiny_llama;

// A layer of one matrix of one element.
LayerWeights scalar_layer(float value) {
  LayerWeights layer;
  layer.tensors[Role::down].weight = torch::full({1, 1}, value);
  layer.tensors[Role::mlp_norm].weight = torch::full({1}, value);
  return layer;
}

double scalar(MergeRule rule, const std::vector<float>& values) {
  std::vector<LayerWeights> group;
  for (const float value : values) group.push_back(scalar_layer(value));
  return merged(group, rule, MergeNorms::first).at(Role::down).weight.item<double>();
}

constexpr MergeRule kRules[] = {MergeRule::telescoped, MergeRule::equation1, MergeRule::mean};

TEST(LayerMerge, Check1OfScalars) {
  EXPECT_EQ(scalar(MergeRule::equation1, {1, 2, 4}), 5);
  EXPECT_EQ(scalar(MergeRule::telescoped, {1, 2, 4}), 4);
  EXPECT_EQ(scalar(MergeRule::mean, {1, 2, 4}), 3);
}

TEST(LayerMerge, Check2OfOneFollowerIsThatFollower) {
  for (const MergeRule rule : kRules) EXPECT_EQ(scalar(rule, {0.1F, 0.3F}), static_cast<double>(0.3F));
}

TEST(LayerMerge, Check3OfEqualLayersIsThatLayer) {
  const LayerWeights layer = pico_model(tiny_llama(1), 3).layer(0);
  const std::vector<LayerWeights> group(4, layer);
  for (const MergeRule rule : kRules)
    for (const MergeNorms norms : {MergeNorms::first, MergeNorms::last}) {
      const LayerWeights result = merged(group, rule, norms);
      const auto expected = layer.all(), found = result.all();
      ASSERT_EQ(found.size(), expected.size());
      for (std::size_t t = 0; t < found.size(); ++t) EXPECT_TRUE(torch::equal(found[t], expected[t]));
    }
}

TEST(LayerMerge, TakesTheNormsThatAreAskedFor) {
  const std::vector<LayerWeights> group = {scalar_layer(1), scalar_layer(2), scalar_layer(4)};
  const auto norm = [&](MergeNorms norms) {
    return merged(group, MergeRule::equation1, norms).at(Role::mlp_norm).weight.item<double>();
  };
  EXPECT_EQ(norm(MergeNorms::first), 1);
  EXPECT_EQ(norm(MergeNorms::last), 4);
}

TEST(LayerMerge, RefusesLayersOfOtherShapes) {
  std::vector<LayerWeights> group = {pico_model(tiny_llama(1), 3).layer(0), pico_model(tiny_llama(1), 3).layer(0)};
  group[1].config.mlp->intermediate = 64;
  EXPECT_ERROR(merged(group, MergeRule::mean, MergeNorms::first), unsupported, "different shapes");
}

class Laco : public test::MethodTest {
 protected:
  Laco() : MethodTest("laco") {}
};

TEST_F(Laco, Check4TelescopedWithTheLastNormsIsDropping) {
  const Proposal proposal = propose({{"threshold", -1}, {"combine", 3}, {"lowest", 2}, {"norms", "last"}});
  // One merge: layers 2 … 4 become layer 2 with everything of layer 4.
  ASSERT_EQ(summary(proposal.plan), "replaced layers 2..4 by one layer (of 6)");
  const auto ids = torch::randint(256, {1, 12}, torch::kLong);
  EXPECT_TRUE(torch::equal(forward_logits(model.view(proposal.plan, proposal.replacements), ids),
                           forward_logits(model.view(drop_layers(6, {2, 3}), {}), ids)));
}

// The bases, followers and layers left of a walk in which the first `accepted` candidates are folded.
struct Walk {
  std::vector<std::int64_t> bases, followers, left;
};
Walk walk(std::int64_t layers, CollapseOptions options, std::size_t accepted) {
  Walk result;
  std::size_t asked = 0;
  std::int64_t left = layers;
  result.left.push_back(left);
  const auto steps = collapse(
      layers, options, [&](std::int64_t, std::int64_t) { return asked++ < accepted ? 1.0 : 0.0; },
      [&](std::int64_t, std::int64_t followers) { result.left.push_back(left -= followers); });
  for (const CollapseStep& step : steps) {
    result.bases.push_back(step.base);
    result.followers.push_back(step.followers);
  }
  return result;
}

TEST(LayerCollapse, Check5WithThePapersClamp) {
  const Walk found =
      walk(32, {.combine = 4, .interval = 2, .highest = 32, .threshold = 0.5, .paper_clamp = true}, 1000);
  EXPECT_EQ(std::vector<std::int64_t>(found.left.begin(), found.left.begin() + 4),
            (std::vector<std::int64_t>{32, 29, 26, 23}));
  EXPECT_EQ(found.bases.size(), 10U);  // specification, section 7
}

constexpr CollapseOptions kReleased{.combine = 7, .interval = 1, .highest = 39, .threshold = 0.5};

TEST(LayerCollapse, Check6AcceptingAllWithTheReleasedRules) {
  const Walk found = walk(40, kReleased, 1000);
  EXPECT_EQ(std::vector<std::int64_t>(found.bases.begin(), found.bases.begin() + 4),
            (std::vector<std::int64_t>{32, 31, 30, 29}));
  EXPECT_EQ(std::vector<std::int64_t>(found.followers.begin(), found.followers.begin() + 4),
            (std::vector<std::int64_t>{6, 2, 1, 1}));
  EXPECT_EQ(std::vector<std::int64_t>(found.left.begin(), found.left.begin() + 5),
            (std::vector<std::int64_t>{40, 34, 32, 31, 30}));
  EXPECT_EQ(found.bases.size(), 33U);
  EXPECT_EQ(found.left.back(), 1);
}

TEST(LayerCollapse, Check7RejectingAll) {
  const Walk found = walk(40, kReleased, 0);
  EXPECT_EQ(found.bases.size(), 33U);
  EXPECT_EQ(found.bases.back(), 0);
  EXPECT_EQ(found.left, std::vector<std::int64_t>{40});
  CollapseOptions three = kReleased;
  three.combine = 3;
  EXPECT_EQ(walk(40, three, 0).bases.size(), 37U);
}

TEST(LayerCollapse, Check8AcceptingTheFirst) {
  const Walk found = walk(40, kReleased, 1);
  EXPECT_EQ(found.left.back(), 34);
  EXPECT_EQ(std::vector<std::int64_t>(found.bases.begin() + 1, found.bases.begin() + 4),
            (std::vector<std::int64_t>{31, 30, 29}));
  EXPECT_EQ(std::vector<std::int64_t>(found.followers.begin() + 1, found.followers.begin() + 4),
            (std::vector<std::int64_t>{2, 3, 4}));
}

TEST(LayerCollapse, StopsAtTheLayersThatAreAskedFor) {
  CollapseOptions options = kReleased;
  options.most = 7;
  EXPECT_EQ(walk(40, options, 1000).left, (std::vector<std::int64_t>{40, 34, 33}));
}

TEST(LayerCollapse, Check11RefusesWhatOnlyEqualsTheThreshold) {
  const auto steps = collapse(
      8, {.highest = 7, .threshold = 0.5}, [](std::int64_t, std::int64_t) { return 0.5; },
      [](std::int64_t, std::int64_t) { FAIL(); });
  EXPECT_EQ(steps.size(), 4U);
}

TEST(OutputLikeness, Check9OfItselfOppositeAndScaled) {
  const auto x = torch::randn({5, 16}), y = torch::randn({5, 16});
  for (const auto kind : {OutputLikeness::flattened, OutputLikeness::tokens, OutputLikeness::last_token}) {
    EXPECT_NEAR(output_likeness(x, x, kind), 1, 1e-6);
    EXPECT_NEAR(output_likeness(x, -x, kind), -1, 1e-6);
    EXPECT_NEAR(output_likeness(x, 3 * y, kind), output_likeness(x, y, kind), 1e-6);
  }
}

TEST(OutputLikeness, Check10FlattensOrNot) {
  const auto x = torch::tensor({{3.0F, 0.0F}, {1.0F, 0.0F}}), y = torch::tensor({{3.0F, 0.0F}, {0.0F, 1.0F}});
  EXPECT_NEAR(output_likeness(x, y, OutputLikeness::flattened), 0.9, 1e-6);
  EXPECT_NEAR(output_likeness(x, y, OutputLikeness::tokens), 0.5, 1e-6);
  EXPECT_NEAR(output_likeness(x, y, OutputLikeness::last_token), 0, 1e-6);
}

TEST(MergeCandidates, Check12AreThoseOfAWholeForwardPass) {
  const Model model = pico_model(tiny_llama(), 5);
  const TokenBatches text = random_tokens(2, 20, 4);
  for (const MergeRule rule : kRules) {
    MergeCandidates candidates(model, text, {.rule = rule, .sentences = 2, .sentence_tokens = 20});
    const auto check = [&](std::int64_t base, std::int64_t followers) {
      const double found = candidates.likeness(base, followers);
      candidates.fold(base, followers);
      const auto [plan, replacements] = candidates.plan();
      const Model view = model.view(plan, replacements);
      double expected = 0;
      for (const auto& sequence : text.sequences) {
        const auto ids = torch::tensor(std::vector<std::int64_t>(sequence.begin(), sequence.end())).unsqueeze(0);
        expected += output_likeness(view.final_norm(hidden_states(view, ids).back())[0],
                                    model.final_norm(hidden_states(model, ids).back())[0], OutputLikeness::flattened) /
                    2;
      }
      EXPECT_NEAR(found, expected, 1e-6);
    };
    check(3, 2);
    check(1, 2);  // takes the layer that was merged in
    EXPECT_EQ(candidates.layers(), 2);
  }
}

TEST(MergeCandidates, RunOnlyWhatACandidateChanges) {
  const Model model = pico_model(tiny_llama(), 5);
  MergeCandidates candidates(model, random_tokens(1, 8, 4), {.sentences = 1});
  EXPECT_EQ(candidates.layers_run(), 6);  // the whole model, once
  candidates.likeness(3, 1);              // the merged layer and layer 5
  EXPECT_EQ(candidates.layers_run(), 8);
  candidates.likeness(3, 1);
  EXPECT_EQ(candidates.layers_run(), 8);
  candidates.fold(3, 1);
  candidates.likeness(1, 1);  // the merged layer and what was 3..4 and 5
  EXPECT_EQ(candidates.layers_run(), 11);
}

TEST_F(Laco, LosesTheLayersThatAreAskedFor) {
  EXPECT_ERROR(propose({{"layers", 5}}), usage, "the closest is 3");
  for (const std::int64_t layers : {1, 2, 3, 5}) {
    const Proposal proposal = propose({{"layers", layers}, {"interval", 1}});
    EXPECT_EQ(model.view(proposal.plan, proposal.replacements).layer_count(), 6 - layers);
    EXPECT_EQ(proposal.plan.scores.at("parameters_saved"), layers * 46208);
    EXPECT_EQ(proposal.plan.method.name, "laco");
  }
}

TEST_F(Laco, Check7AtAThresholdOfOneNothingIsMerged) {
  const Proposal proposal = propose({{"threshold", 1}});
  EXPECT_EQ(summary(proposal.plan), "kept all 6 layers");
  EXPECT_THAT(proposal.warnings, testing::ElementsAre(testing::HasSubstr("nothing was cut")));
}

TEST_F(Laco, SaysWhatIsWrong) {
  EXPECT_ERROR(propose(Json::object()), usage, "exactly one of --layers and --threshold");
  EXPECT_ERROR(propose({{"layers", 1}, {"threshold", 0.5}}), usage, "exactly one of --layers and --threshold");
  EXPECT_ERROR(propose({{"layers", 6}}), usage, "1 to 5 can be cut");
  EXPECT_ERROR(propose({{"threshold", 0.5}, {"highest", 9}}), usage, "the model has 6 layers");
  EXPECT_ERROR(propose({{"threshold", 0.5}, {"lowest", 3}}), usage, "no group of 4 layers lies between");
  EXPECT_ERROR(propose({{"layers", 5}, {"lowest", 1}, {"combine", 2}}), usage, "the closest is");
  EXPECT_ERROR(propose({{"layers", 1}, {"merge", "sum"}}), usage, "telescoped");
  EXPECT_ERROR(propose({{"layers", 1}, {"start", 1}}), usage, "interval");  // the list of what exists
  calibration = {};
  EXPECT_ERROR(propose({{"layers", 1}}), resource, "no text");
  replacement = {.name = "layer", .layers = 1};
  EXPECT_ERROR(propose({{"layers", 1}}), usage, "--replace none");
}

}  // namespace
}  // namespace streamline
