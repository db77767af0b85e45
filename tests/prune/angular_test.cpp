// SPDX-License-Identifier: Apache-2.0
// The checks of the specification of The Unreasonable Ineffectiveness of the Deeper Layers, by number; check 1 and 5
// are in angles_test.cpp, 11 in eval/perplexity_test.cpp, and 12 in heal/tuning_test.cpp.
#include <numbers>

#include "prune/method_fixture.h"

namespace streamline {
namespace {

using test::dropped;
using test::pico_model;
using test::random_tokens;
using test::tiny_llama;

std::vector<std::int64_t> range(std::int64_t first, std::int64_t last) {
  std::vector<std::int64_t> layers;
  for (std::int64_t layer = first; layer <= last; ++layer) layers.push_back(layer);
  return layers;
}

double angular(const Scores& scores, const std::vector<double>& matrix, std::int64_t i, std::int64_t j) {
  return matrix[static_cast<std::size_t>(i * (scores.layers + 1) + j)];
}

// Scores whose windows of `count` layers have these distances; all others are 1.
Scores distances(std::int64_t layers, std::int64_t count, const std::vector<double>& last,
                 const std::vector<double>& all) {
  Scores scores = test::scores_with(layers, 1, {});
  scores.angular_last.assign(scores.cosine.size(), 1.0);
  scores.angular_all = scores.angular_last;
  for (std::size_t start = 0; start < last.size(); ++start) {
    const std::size_t at = start * static_cast<std::size_t>(layers + 2) + static_cast<std::size_t>(count);
    scores.angular_last[at] = last[start];
    scores.angular_all[at] = all[start];
  }
  return scores;
}

class Angular : public test::MethodTest {
 protected:
  Angular() : MethodTest("angular") {}
};

class Deepest : public test::MethodTest {
 protected:
  Deepest() : MethodTest("deepest") {}
};

TEST(AngularScores, Check2AreSymmetricAndObeyTheTriangle) {
  const Scores scores = score_layers(pico_model(tiny_llama(), 4), random_tokens(3, 16, 8), {});
  for (const auto* matrix : {&scores.angular_last, &scores.angular_all})
    for (std::int64_t i = 0; i <= 6; ++i) {
      EXPECT_EQ(angular(scores, *matrix, i, i), 0);
      for (std::int64_t j = i; j <= 6; ++j) {
        EXPECT_EQ(angular(scores, *matrix, i, j), angular(scores, *matrix, j, i));
        for (std::int64_t k = j; k <= 6; ++k)
          EXPECT_LE(angular(scores, *matrix, i, k),
                    angular(scores, *matrix, i, j) + angular(scores, *matrix, j, k) + 1e-6);
      }
    }
}

TEST_F(Angular, Check3HasAsManyCandidatesAsThereAreWindows) {
  EXPECT_EQ(propose({{"layers", 1}}).windows.size(), 6U);
  EXPECT_EQ(propose({{"layers", 4}}).windows.size(), 3U);
  EXPECT_EQ(propose({{"layers", 4}, {"keep-last", true}}).windows.size(), 2U);
  EXPECT_EQ(propose({{"layers", 5}}).windows.size(), 2U);
}

TEST_F(Angular, Check4FindsPlantedIdentityLayers) {
  model = test::with_identity_layers(12, 5, 8);
  const Proposal proposal = propose({{"layers", 4}});
  EXPECT_EQ(dropped(proposal.plan), range(5, 8));
  EXPECT_NEAR(proposal.plan.scores.at("angular_distance").get<double>(), 0, 1e-6);
  const auto ids = torch::randint(256, {1, 12}, torch::kLong);
  EXPECT_TRUE(torch::equal(forward_logits(model, ids), forward_logits(model.view(proposal.plan, {}), ids)));
  EXPECT_EQ(dropped(propose({{"layers", 4}, {"positions", "all"}}).plan), range(5, 8));
}

TEST_F(Deepest, Check6DropsTheDeepestLayersButTheLast) {
  model = pico_model(tiny_llama(32), 1);
  EXPECT_EQ(dropped(propose({{"layers", 8}}).plan), range(23, 30));
  EXPECT_EQ(dropped(propose({{"layers", 31}}).plan), range(0, 30));
  EXPECT_ERROR(propose({{"layers", 32}}), usage, "1 to 31 can be cut");
  EXPECT_ERROR(propose({{"layers", 0}}), usage, "layers");
}

TEST_F(Deepest, LooksAtNothingAndSaysSo) {
  calibration = {};  // which would be an error to score on
  const Proposal proposal = propose({{"cut", 2}});
  EXPECT_EQ(proposal.scores.layers, 0);
  EXPECT_THAT(proposal.warnings, testing::ElementsAre(testing::HasSubstr("needs healing")));
  replacement = {.name = "layer", .layers = 1};
  EXPECT_TRUE(propose({{"layers", 2}}).warnings.empty());
  EXPECT_EQ(dropped(propose({{"layers", 2}}).plan), range(2, 4));
  EXPECT_ERROR(propose({{"cut", 6}}), usage, "1 to 5 can be cut");
  EXPECT_ERROR(propose({{"cut", 2}, {"protect", {4}}}), usage, "hold a protected layer");
  EXPECT_EQ(dropped(propose({{"sparsity", 0.3}}).plan).size(), 2U);
}

TEST_F(Angular, Check7TakesTheRowOfSmallestDistance) {
  model = pico_model(tiny_llama(32), 1);
  std::vector<double> rows(24, 8640.5 / 10000);
  rows[21] = 5176.6 / 10000;
  scores = distances(32, 9, rows, rows);
  const Proposal proposal = propose({{"layers", 9}});
  EXPECT_EQ(dropped(proposal.plan), range(21, 29));
  EXPECT_EQ(model.view(proposal.plan, {}).layer_count(), 23);
  EXPECT_EQ(test::left_of_llama_2_7b(proposal.plan), 4'916'965'376);
  EXPECT_NEAR(proposal.plan.scores.at("margin").get<double>(), (8640.5 - 5176.6) / 10000, 1e-12);
}

TEST(AngularScores, Check8DependOnWhatComesBeforeTheLastTokenOnly) {
  const Model model = pico_model(tiny_llama(3), 6);
  const auto of_tokens = [&](const torch::Tensor& ids, std::int64_t last) {
    ScoreAccumulator accumulator(3);
    std::vector<torch::Tensor> rows;
    for (const torch::Tensor& state : hidden_states(model, ids)) rows.push_back(state[0].slice(0, 0, last + 1));
    accumulator.add(rows);
    return angular(accumulator.finish(), accumulator.finish().angular_last, 1, 3);
  };
  const auto ids = torch::randint(256, {1, 10}, torch::kLong), more = torch::randint(256, {1, 4}, torch::kLong);
  EXPECT_NEAR(of_tokens(ids, 9), of_tokens(torch::cat({ids, more}, 1), 9), 1e-6);
  EXPECT_GT(std::abs(of_tokens(ids, 9) - of_tokens(torch::cat({more, ids}, 1), 13)), 1e-5);
}

TEST(AngularScores, Check9OfOneTokenFollowFromBlockInfluence) {
  const Scores scores = score_layers(pico_model(tiny_llama(3), 6), random_tokens(1, 1, 9), {});
  for (std::int64_t layer = 0; layer < 3; ++layer) {
    const double expected = std::acos(1 - scores.block_influence(layer)) / std::numbers::pi;
    EXPECT_NEAR(angular(scores, scores.angular_last, layer, layer + 1), expected, 1e-6);
    EXPECT_NEAR(angular(scores, scores.angular_all, layer, layer + 1), expected, 1e-6);
  }
}

TEST(AngularScores, Check10AreThoseOfSeparateForwardPasses) {
  const Model model = pico_model(tiny_llama(), 7);
  const TokenBatches batches = random_tokens(3, 14, 2);
  const Scores scores = score_layers(model, batches, {});
  for (std::int64_t i = 0; i <= 6; ++i)
    for (std::int64_t j = i + 1; j <= 6; ++j) {
      double last = 0, all = 0;
      for (const auto& sequence : batches.sequences) {
        const auto ids = torch::tensor(std::vector<std::int64_t>(sequence.begin(), sequence.end())).unsqueeze(0);
        const auto states = hidden_states(model, ids);
        const auto at = [&](std::int64_t k) { return states[static_cast<std::size_t>(k)][0].to(torch::kFloat64); };
        const auto angles = torch::cosine_similarity(at(i), at(j), -1).acos() / std::numbers::pi;
        last += angles[-1].item<double>() / 3;
        all += angles.mean().item<double>() / 3;
      }
      EXPECT_NEAR(angular(scores, scores.angular_last, i, j), last, 1e-6);
      EXPECT_NEAR(angular(scores, scores.angular_all, i, j), all, 1e-6);
    }
}

TEST_F(Angular, LooksAtTheTokensThatAreAskedFor) {
  scores = distances(6, 2, {0.3, 0.1, 0.5, 0.4, 0.2}, {0.3, 0.4, 0.5, 0.1, 0.2});
  EXPECT_EQ(dropped(propose({{"layers", 2}}).plan), range(1, 2));
  EXPECT_EQ(dropped(propose({{"layers", 2}, {"positions", "all"}}).plan), range(3, 4));
  EXPECT_EQ(dropped(propose({{"layers", 2}, {"protect", {2}}}).plan), range(4, 5));
  EXPECT_EQ(dropped(propose({{"layers", 2}, {"protect", {2}}, {"keep-last", true}}).plan), range(0, 1));
  EXPECT_ERROR(propose({{"layers", 2}, {"protect", {1, 3, 5}}}), usage, "holds a layer that must stay");
  EXPECT_ERROR(propose({{"layers", 2}, {"positions", "first"}}), usage, "last");
  EXPECT_ERROR(propose({{"positions", "all"}}), usage, "exactly one of --layers, --cut and --sparsity");
  EXPECT_ERROR(propose({{"layers", 2}, {"start", 1}}), usage, "keep-last");  // the list of what exists
}

}  // namespace
}  // namespace streamline
