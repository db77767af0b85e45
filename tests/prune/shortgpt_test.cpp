// SPDX-License-Identifier: Apache-2.0
// The checks of ShortGPT's specification, by number.
#include <numeric>

#include "prune/method_fixture.h"
#include "support/torch/rank_threads.h"

namespace streamline {
namespace {

using test::dropped;
using test::pico_model;
using test::random_tokens;
using test::tiny_llama;

// Block influence by layer of Llama-2-7B, from the code of arXiv 2407.16286.
const std::vector<double> kLlama2 = {.4066, .2499, .1454, .1462, .1515, .1501, .1436, .1420, .1339, .1287, .1248,
                                     .1131, .1092, .1100, .1058, .1059, .1062, .0839, .0756, .0637, .0616, .0466,
                                     .0440, .0365, .0347, .0308, .0332, .0299, .0332, .0337, .0603, .3072};
const std::vector<double> kMistral = {.4131, .2229, .1850, .1542, .1579, .1619, .1558, .1551, .1419, .1315, .1252,
                                      .1169, .1101, .1061, .1116, .1107, .1095, .1053, .1062, .0970, .0750, .0613,
                                      .0494, .0465, .0416, .0395, .0385, .0408, .0504, .0602, .0613, .1741};

class ShortGpt : public test::MethodTest {
 protected:
  ShortGpt() : MethodTest("shortgpt") {}
  void influences(const std::vector<double>& values) {
    std::vector<double> cosines;
    for (const double value : values) cosines.push_back(1 - value);
    scores = test::scores_with(std::ssize(values), 1, cosines);
  }
};

// h_0 … of two layers, and the block influence of layer 0 that they give.
double block_influence(const torch::Tensor& in, const torch::Tensor& out) {
  ScoreAccumulator accumulator(1);
  const std::vector<torch::Tensor> states = {in, out};
  accumulator.add(states);
  return accumulator.finish().block_influence(0);
}

TEST_F(ShortGpt, Check1OfIdentityLayersTheInfluenceIsZeroAndTheirLossNothing) {
  model = test::with_identity_layers(6, 3, 3);
  const Scores measured = score_layers(model, random_tokens(2, 16, 5), {});
  EXPECT_NEAR(measured.block_influence(3), 0, 1e-7);
  scores = measured;
  const Proposal proposal = propose({{"layers", 1}});
  EXPECT_EQ(dropped(proposal.plan), std::vector<std::int64_t>{3});
  const auto ids = torch::randint(256, {1, 12}, torch::kLong);
  EXPECT_TRUE(torch::equal(forward_logits(model, ids), forward_logits(model.view(proposal.plan, {}), ids)));
}

TEST(BlockInfluence, Check2OfScaledOppositeAndOrthogonalStates) {
  const auto x = torch::randn({3, 8});
  EXPECT_NEAR(block_influence(x, 2 * x), 0, 1e-12);
  EXPECT_NEAR(block_influence(x, -x), 2, 1e-12);
  EXPECT_NEAR(block_influence(torch::tensor({{1.0F, 0.0F}}), torch::tensor({{0.0F, 3.0F}})), 1, 1e-12);
}

TEST(BlockInfluence, Check3OfAnOrthogonalUpdateOfATenth) {
  const double influence = block_influence(torch::tensor({{1.0F, 0.0F}}), torch::tensor({{1.0F, 0.1F}}));
  EXPECT_NEAR(influence, 0.0049628, 1e-7);
}

TEST(BlockInfluence, Check4DoesNotSeeScale) {
  const auto x = torch::randn({5, 16}), y = torch::randn({5, 16});
  EXPECT_NEAR(block_influence(x, y), block_influence(8 * x, y / 4), 1e-12);
}

TEST(BlockInfluence, Check5IsTheMeanOfTheTokensWhateverTheirNorms) {
  const auto in = torch::tensor({{1.0F, 0.0F}, {1000.0F, 0.0F}}), out = torch::tensor({{1.0F, 0.0F}, {0.0F, 1000.0F}});
  EXPECT_NEAR(block_influence(in, out), 0.5, 1e-12);
}

// Check 6 asks for means over tokens. Ours are over the tokens of a sequence, then over sequences, which is the same
// where sequences have one length, as packed text does: here one token. The ranks are the shards.
TEST(BlockInfluence, Check6WeighsShardsByTheirTokens) {
  const auto x = torch::tensor({{1.0, 0.0}});
  const std::vector<std::vector<double>> shards = {{0.1, 0.2, 0.3}, {0.6}};
  test::in_ranks(2, [&](const Ranks& ranks) {
    ScoreAccumulator shard(1);
    for (const double influence : shards[static_cast<std::size_t>(ranks.rank())]) {
      const double cosine = 1 - influence;
      const std::vector<torch::Tensor> states = {x, torch::tensor({{cosine, std::sqrt(1 - cosine * cosine)}})};
      shard.add(states);
    }
    shard.sum_over(ranks);
    EXPECT_NEAR(shard.finish().block_influence(0), 0.3, 1e-6);
    ranks.finish(0);
  });
}

// One layer always stays: here one that adds nothing to the embedding.
TEST_F(ShortGpt, Check7ChoicesAreNestedAndReachFromTheWholeModelToTheEmbedding) {
  model = test::with_identity_layers(6, 2, 2);
  const auto ids = torch::randint(256, {1, 12}, torch::kLong);
  const auto logits_of = [&](const Plan& plan) { return forward_logits(model.view(plan, {}), ids); };
  EXPECT_TRUE(torch::equal(logits_of(keep_all(6)), forward_logits(model, ids)));
  influences({0.3, 0.1, 0.5, 0.05, 0.2, 0.4});
  std::vector<std::int64_t> before;
  for (std::int64_t count = 1; count <= 5; ++count) {
    const std::vector<std::int64_t> now = dropped(propose({{"layers", count}}).plan);
    EXPECT_EQ(std::ssize(now), count);
    EXPECT_TRUE(std::includes(now.begin(), now.end(), before.begin(), before.end()));
    before = now;
  }
  EXPECT_EQ(before, (std::vector<std::int64_t>{0, 1, 3, 4, 5}));
  EXPECT_TRUE(torch::equal(logits_of(propose({{"layers", 5}}).plan), model.logits(model.embed(ids))));
  EXPECT_ERROR(propose({{"layers", 6}}), usage, "--layers 6 cannot be had of 6 layers; the closest is 5");
  EXPECT_ERROR(propose({{"cut", 6}}), usage, "cutting 6 of 6 layers: 1 to 5 can be cut");
}

TEST_F(ShortGpt, Check8PublishedInfluencesGiveThePublishedLayers) {
  model = pico_model(tiny_llama(32), 2);
  influences(kLlama2);
  const auto range = [](std::int64_t first, std::int64_t last) {
    std::vector<std::int64_t> layers(static_cast<std::size_t>(last - first + 1));
    std::iota(layers.begin(), layers.end(), first);
    return layers;
  };
  EXPECT_EQ(dropped(propose({{"layers", 1}}).plan), range(27, 27));
  EXPECT_EQ(dropped(propose({{"layers", 9}}).plan), range(21, 29));
  EXPECT_EQ(dropped(propose({{"layers", 10}}).plan), range(21, 30));
  EXPECT_EQ(propose({{"layers", 3}}).plan.scores.at("order"),
            Json({27, 25, 26, 28, 29, 24, 23, 22, 21, 30, 20, 19, 18, 17, 14, 15,
                  16, 12, 13, 11, 10, 9,  8,  7,  6,  2,  3,  5,  4,  1,  31, 0}));
  influences(kMistral);
  EXPECT_EQ(dropped(propose({{"layers", 3}}).plan), range(25, 27));
}

TEST(BlockInfluence, Check9OfTheLastLayerDependsOnTheFinalNormsGainsOnlyWhereTheyDiffer) {
  for (const bool equal : {true, false}) {
    const Model model = pico_model(tiny_llama(3), 3, [&](const ExpectedTensor& tensor, std::vector<float>& values) {
      if (tensor.role != Role::final_norm) return;
      for (std::size_t k = 0; k < values.size(); ++k) values[k] = equal ? 1.5F : static_cast<float>(1 + k % 7);
    });
    const Scores scores = score_layers(model, random_tokens(2, 16, 4), {});
    ASSERT_TRUE(scores.normed_last_cosine);
    const double difference = std::abs(1 - *scores.normed_last_cosine - scores.block_influence(2));
    EXPECT_THAT(difference, equal ? testing::Matcher<double>(testing::Lt(1e-6)) : testing::Gt(1e-3));
  }
}

TEST_F(ShortGpt, TakesTheReleasedCodesLastStateWhereAsked) {
  influences({0.3, 0.1, 0.5, 0.2, 0.2, 0.05});
  scores.normed_last_cosine = 0.2;
  EXPECT_EQ(dropped(propose({{"layers", 1}}).plan), std::vector<std::int64_t>{5});
  EXPECT_EQ(dropped(propose({{"layers", 1}, {"last-state", "normed"}}).plan), std::vector<std::int64_t>{1});
  scores.normed_last_cosine.reset();
  EXPECT_ERROR(propose({{"layers", 1}, {"last-state", "normed"}}), usage, "do not know the state after the final norm");
  EXPECT_ERROR(propose({{"layers", 1}, {"last-state", "other"}}), usage, "hidden");
}

TEST_F(ShortGpt, Check10NineOf32LayersLeaveThePublishedParameters) {
  model = pico_model(tiny_llama(32), 2);
  influences(kLlama2);
  EXPECT_EQ(test::left_of_llama_2_7b(propose({{"layers", 9}}).plan), 4'916'965'376);
}

// Check 10, on the tiny model: a layer has 46,208 of 310,080 parameters.
TEST_F(ShortGpt, Check10CountsTheParametersThatAreGone) {
  influences({0.3, 0.1, 0.5, 0.05, 0.2, 0.4});
  const Proposal proposal = propose({{"layers", 2}});
  EXPECT_EQ(proposal.plan.scores.at("parameters_saved"), 2 * 46208);
  EXPECT_EQ(model.view(proposal.plan, {}).parameters(), 310080 - 2 * 46208);
  EXPECT_EQ(dropped(propose({{"sparsity", 2.1 * 46208 / 310080}}).plan).size(), 2U);
}

TEST(BlockInfluence, Check11OfATokenIgnoresWhatComesAfter) {
  const Model model = pico_model(tiny_llama(3), 6);
  auto ids = torch::randint(256, {1, 12}, torch::kLong);
  const auto of_first = [&] {
    const auto states = hidden_states(model, ids);
    return block_influence(states[1][0].slice(0, 0, 6), states[2][0].slice(0, 0, 6));
  };
  const double before = of_first();
  ids.slice(1, 6).add_(1).remainder_(256);
  EXPECT_NEAR(of_first(), before, 1e-6);
}

TEST_F(ShortGpt, SparesProtectedLayersAndPutsBackWhatIsAskedFor) {
  influences({0.3, 0.1, 0.5, 0.05, 0.2, 0.4});
  EXPECT_EQ(dropped(propose({{"layers", 2}, {"protect", {3}}}).plan), (std::vector<std::int64_t>{1, 4}));
  EXPECT_ERROR(propose({{"cut", 3}, {"protect", {0, 1, 2, 3}}}), usage, "cutting 3 layers: 2 are not protected");
  EXPECT_ERROR(propose({{"layers", 1}, {"protect", {9}}}), usage, "the model has layers 0..5");
  replacement = {.name = "layer", .layers = 1};
  // 3, 1, 4, 0: runs 0..1 and 3..4, one put back for each.
  EXPECT_EQ(summary(propose({{"layers", 2}}).plan),
            "replaced layers 0..1 by one layer; replaced layers 3..4 by one layer (of 6)");
  replacement = {.name = "linear-before", .before = 1};
  EXPECT_ERROR(propose({{"layers", 4}}), usage, "before 0..1 there is none");
}

TEST_F(ShortGpt, WarnsOfMassiveActivations) {
  influences({0.3, 0.1, 0.5, 0.05, 0.2, 0.4});
  for (std::size_t i = 4; i <= 6; ++i) scores.states[i].largest_over_median = 180;  // made by layer 3
  EXPECT_THAT(propose({{"layers", 1}}).warnings, testing::ElementsAre(testing::HasSubstr("takes layer 3")));
}

}  // namespace
}  // namespace streamline
