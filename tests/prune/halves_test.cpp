// SPDX-License-Identifier: Apache-2.0
// Methods that drop halves of layers, and the static metrics of the depth study, whose specification's checks are named
// by number.
#include <numbers>
#include <numeric>

#include <numbers>
#include "prune/method_fixture.h"

#include "streamline/nn/block.h"
#include "streamline/plan/drop_halves.h"
#include "streamline/prune/half_choice.h"

namespace streamline {
namespace {

using test::dropped;
using test::pico_model;
using test::random_tokens;
using test::tiny_llama;

using Halves = std::vector<std::pair<std::int64_t, std::string>>;

// (layer, half) of everything that is dropped.
Halves dropped_halves(const Plan& plan) {
  Halves halves;
  for (const Segment& segment : plan.segments)
    for (std::int64_t layer = segment.first; layer <= segment.last; ++layer) {
      if (segment.action == Action::drop || segment.action == Action::drop_attention)
        halves.emplace_back(layer, "attention");
      if (segment.action == Action::drop || segment.action == Action::drop_mlp) halves.emplace_back(layer, "mlp");
    }
  return halves;
}

// Scores in which 1 - cosine of the attention and MLP of each layer is this.
Scores half_scores(const std::vector<double>& attention, const std::vector<double>& mlp) {
  Scores scores = test::scores_with(std::ssize(attention), 1, {});
  for (const double value : attention) scores.attention_updates.push_back(UpdateStatistics{.cosine = 1 - value});
  for (const double value : mlp) scores.mlp_updates.push_back(UpdateStatistics{.cosine = 1 - value});
  return scores;
}

class HalfDrop : public test::MethodTest {
 protected:
  HalfDrop() : MethodTest("joint-drop") {
    scores = half_scores({0.5, 0.1, 0.2, 0.05, 0.3, 0.4}, {0.6, 0.15, 0.7, 0.8, 0.02, 0.9});
  }
  Halves with(const std::string& method, const Json& given) {
    method_ = method;
    return dropped_halves(propose(given).plan);
  }
};

TEST_F(HalfDrop, DropsTheHalvesThatTurnTheStreamLeast) {
  EXPECT_EQ(with("attention-drop", {{"layers", 2}}), (Halves{{1, "attention"}, {3, "attention"}}));
  EXPECT_EQ(with("mlp-drop", {{"layers", 2}}), (Halves{{1, "mlp"}, {4, "mlp"}}));
  EXPECT_EQ(with("joint-drop", {{"halves", 3}}), (Halves{{1, "attention"}, {3, "attention"}, {4, "mlp"}}));
}

TEST(HalfKinds, AreThoseThatAMethodTakesByThemselves) {
  const auto kinds = [](const char* method, const Json& given) {
    const HalfKinds found = half_kinds(find_method(method), given);
    return std::string(found.attention ? "a" : "") + (found.mlp ? "m" : "");
  };
  EXPECT_EQ(kinds("attention-drop", Json::object()), "a");
  EXPECT_EQ(kinds("mlp-drop", Json::object()), "m");
  EXPECT_EQ(kinds("joint-drop", Json::object()), "am");
  EXPECT_EQ(kinds("blockpruner", Json::object()), "am");
  EXPECT_EQ(kinds("blockpruner", {{"kind", "mlp"}}), "m");
  EXPECT_EQ(kinds("iterative", Json::object()), "");
  EXPECT_EQ(kinds("iterative", {{"units", "attention"}}), "a");
  EXPECT_EQ(kinds("shapley", {{"units", "both"}}), "am");
  EXPECT_EQ(kinds("shortgpt", Json::object()), "");
  EXPECT_EQ(kinds("wanda-sp", {{"inside", "heads"}}), "");
}

TEST_F(HalfDrop, CountsLayersByTheHalvesTheyHave) {
  EXPECT_EQ(with("attention-drop", {{"layers", 3}}).size(), 3U);
  EXPECT_EQ(with("joint-drop", {{"layers", 2}}).size(), 4U);
  // Both halves of layer 1 are gone, which is the layer.
  EXPECT_EQ(dropped(propose({{"layers", 2}}).plan), std::vector<std::int64_t>{1});
}

TEST_F(HalfDrop, SaysWhatIsSaved) {
  method_ = "mlp-drop";
  const Proposal proposal = propose({{"layers", 2}});
  const std::int64_t mlp = 3 * 64 * 176 + 64;  // three matrices and the norm
  EXPECT_EQ(proposal.plan.scores.at("parameters_saved"), 2 * mlp);
  EXPECT_EQ(model.view(proposal.plan, {}).parameters(), 310080 - 2 * mlp);
  EXPECT_NEAR(proposal.plan.scores.at("margin").get<double>(), 0.6 - 0.15, 1e-12);
  EXPECT_EQ(with("mlp-drop", {{"sparsity", 2.2 * static_cast<double>(mlp) / 310080}}).size(), 2U);
}

TEST_F(HalfDrop, RefusesWhatCannotBeHad) {
  EXPECT_ERROR(with("attention-drop", {{"layers", 7}}), usage, "dropping 7 halves of layers: 1 to 6 can be dropped");
  EXPECT_ERROR(with("joint-drop", {{"layers", 6}}), usage, "1 to 11 can be dropped");
  EXPECT_ERROR(with("joint-drop", Json::object()), usage, "exactly one of --layers, --halves and --sparsity; 0 are");
  EXPECT_ERROR(with("joint-drop", {{"layers", 1}, {"cut", 2}}), usage, "halves");  // the list of what exists
  EXPECT_ERROR(with("joint-drop", {{"layers", 1}, {"protect", {0, 1, 2, 3, 4, 5}}}), usage, "protect fewer layers");
  EXPECT_ERROR(with("joint-drop", {{"layers", 1}, {"protect", {6}}}), usage, "the model has layers 0..5");
  EXPECT_EQ(with("attention-drop", {{"layers", 2}, {"protect", {3}}}), (Halves{{1, "attention"}, {2, "attention"}}));
  replacement = {.name = "layer", .layers = 1};
  EXPECT_ERROR(with("joint-drop", {{"layers", 1}}), usage, "--replace none");
}

TEST_F(HalfDrop, RefusesBeforeItReads) {
  scores = {};
  calibration.sequences.clear();  // nothing could be read
  EXPECT_ERROR(with("attention-drop", {{"halves", 999}}), usage, "1 to 6 can be dropped");
  EXPECT_ERROR(with("joint-drop", {{"layers", 6}}), usage, "1 to 11 can be dropped");
  EXPECT_ERROR(with("mlp-drop", {{"layers", 1}, {"protect", {6}}}), usage, "the model has layers 0..5");
  EXPECT_ERROR(with("mlp-drop", {{"layers", 1}}), resource, "");
  replacement = {.name = "layer", .layers = 1};
  EXPECT_ERROR(with("mlp-drop", {{"layers", 1}}), usage, "--replace none");
}

TEST_F(HalfDrop, SaysThatAModelHasNoSuchHalves) {
  scores = test::scores_with(6, 1, {});
  EXPECT_ERROR(with("attention-drop", {{"layers", 1}}), usage, "of which one can go alone");
}

TEST_F(HalfDrop, FindsTheHalvesThatWriteNothing) {
  model = pico_model(tiny_llama(), 1, [](const ExpectedTensor& tensor, std::vector<float>& values) {
    const std::int64_t layer = test::layer_of(tensor);
    if ((layer == 2 && tensor.role == Role::o) || (layer == 4 && tensor.role == Role::down))
      values.assign(values.size(), 0.0F);
  });
  scores = {};
  EXPECT_EQ(with("joint-drop", {{"halves", 2}}), (Halves{{2, "attention"}, {4, "mlp"}}));
  const Proposal proposal = propose({{"halves", 2}});
  const auto ids = torch::randint(256, {1, 12}, torch::kLong);
  EXPECT_LE(
      (forward_logits(model, ids) - forward_logits(model.view(proposal.plan, {}), ids)).abs().max().item<double>(),
      1e-6);
}

// What the sweep says of the halves, computed half by half.
void expect_halves(const Model& model) {
  const TokenBatches batches = random_tokens(2, 12, 5);
  const Scores scores = score_layers(model, batches, {});
  for (std::int64_t layer = 0; layer < model.layer_count(); ++layer) {
    const auto at = static_cast<std::size_t>(layer);
    UpdateStatistics attention, mlp, whole;
    for (const auto& sequence : batches.sequences) {
      const auto ids = torch::tensor(std::vector<std::int64_t>(sequence.begin(), sequence.end())).unsqueeze(0);
      const torch::Tensor x = hidden_states(model, ids)[at];
      const Positions positions = rope_positions(model.config(), 0, ids.size(1), torch::kCPU);
      const LayerWeights weights = model.layer(layer);
      const torch::Tensor middle = x + attention_half(model.config(), weights, x, positions);
      const torch::Tensor read = weights.config.residual == Residual::parallel ? x : middle;
      const torch::Tensor added = mlp_half(model.config(), weights, read);
      attention += update_statistics_by_tensors(x[0], middle[0]);
      mlp += update_statistics_by_tensors(read[0], (read + added)[0]);
      whole += update_statistics_by_tensors(x[0], (middle + added)[0]);
    }
    for (const auto& [found, expected] : {std::pair(scores.attention_updates[at], attention /= 2),
                                          {scores.mlp_updates[at], mlp /= 2},
                                          {scores.layer_updates[at], whole /= 2}}) {
      ASSERT_TRUE(found) << layer;
      EXPECT_NEAR(found->cosine, expected.cosine, 1e-6);
      EXPECT_NEAR(found->l1, expected.l1, 1e-5 * expected.l1);
      EXPECT_NEAR(found->l2, expected.l2, 1e-5 * expected.l2);
      EXPECT_NEAR(found->relative_l1_in, expected.relative_l1_in, 1e-5);
      EXPECT_NEAR(found->relative_l1_out, expected.relative_l1_out, 1e-5);
      EXPECT_NEAR(found->relative_l2_in, expected.relative_l2_in, 1e-5);
      EXPECT_NEAR(found->relative_l2_out, expected.relative_l2_out, 1e-5);
    }
  }
}

TEST(HalfScores, AreThoseOfTheHalvesAlone) { expect_halves(pico_model(tiny_llama(3), 4)); }

TEST(HalfScores, OfParallelHalvesAreEachFromWhatEntersTheLayer) {
  Json json = {{"model_type", "gpt_neox"},       {"hidden_size", 64},        {"intermediate_size", 128},
               {"num_hidden_layers", 3},         {"num_attention_heads", 4}, {"vocab_size", 256},
               {"max_position_embeddings", 128}, {"rotary_pct", 0.5},        {"use_parallel_residual", true},
               {"layer_norm_eps", 1e-5},         {"hidden_act", "gelu"},     {"tie_word_embeddings", false},
               {"torch_dtype", "float32"}};
  expect_halves(pico_model(json, 4));
}

UpdateStatistics update(const std::vector<float>& in, const std::vector<float>& out) {
  const auto x = torch::tensor(in).unsqueeze(0), y = torch::tensor(out).unsqueeze(0);
  const UpdateStatistics fast = update_statistics(x, y), exact = update_statistics_by_tensors(x, y);
  EXPECT_NEAR(fast.cosine, exact.cosine, 1e-6);
  EXPECT_NEAR(fast.relative_l2_out, exact.relative_l2_out, 1e-6);
  EXPECT_NEAR(fast.angle, exact.angle, 1e-6);
  return fast;
}

TEST(UpdateStatistics, Check3OfAnIdentityAreZero) {
  const UpdateStatistics s = update({3, -4, 1}, {3, -4, 1});
  EXPECT_EQ(s.cosine, 1);
  for (const double value :
       {s.l1, s.l2, s.relative_l1_in, s.relative_l1_out, s.relative_l2_in, s.relative_l2_out, s.angle})
    EXPECT_EQ(value, 0);
}

TEST(UpdateStatistics, Check4OfADoubling) {
  const UpdateStatistics s = update({3, -4, 1}, {6, -8, 2});
  EXPECT_NEAR(s.cosine, 1, 1e-12);
  EXPECT_NEAR(s.relative_l2_in, 1, 1e-12);
  EXPECT_NEAR(s.relative_l2_out, 0.5, 1e-12);
  EXPECT_NEAR(s.relative_l1_in, 1, 1e-12);
  EXPECT_NEAR(s.relative_l1_out, 0.5, 1e-12);
}

TEST(UpdateStatistics, Check5OfNumbersWorkedOutByHand) {
  const UpdateStatistics s = update({3, 4}, {3, 9});
  EXPECT_NEAR(s.l1, 5, 1e-12);
  EXPECT_NEAR(s.l2, 5, 1e-12);
  EXPECT_NEAR(s.relative_l2_in, 1, 1e-12);
  EXPECT_NEAR(s.relative_l2_out, 0.52705, 1e-5);
  EXPECT_NEAR(1 - s.cosine, 0.05132, 1e-5);
}

TEST(UpdateStatistics, TheAngleIsAShareOfTheHalfTurn) {
  EXPECT_NEAR(update({1, 0}, {0, 7}).angle, 0.5, 1e-12);
  EXPECT_NEAR(update({1, 0}, {-3, 0}).angle, 1, 1e-12);
  EXPECT_NEAR(update({2, 0}, {3, 3}).angle, 0.25, 1e-7);
  EXPECT_NEAR(update({1, 0}, {1, 1e-6F}).angle, 1e-6 / std::numbers::pi, 1e-12);  // an arccos would round it off
}

TEST(UpdateStatistics, AgreeWithTensorExpressionsInFloat64) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16, torch::kFloat16})
    for (const std::int64_t width : {1, 15, 64, 3001}) {
      const auto x = torch::randn({37, width}).to(type), y = (x + 0.3 * torch::randn({37, width})).to(type);
      const UpdateStatistics fast = update_statistics(x, y), exact = update_statistics_by_tensors(x, y);
      EXPECT_NEAR(fast.cosine, exact.cosine, 2e-6);
      EXPECT_NEAR(fast.l1, exact.l1, 1e-5 * exact.l1);
      EXPECT_NEAR(fast.l2, exact.l2, 1e-5 * exact.l2);
      EXPECT_NEAR(fast.relative_l1_in, exact.relative_l1_in, 1e-5 * exact.relative_l1_in);
      EXPECT_NEAR(fast.relative_l2_out, exact.relative_l2_out, 1e-5 * exact.relative_l2_out);
    }
}

TEST(UpdateStatistics, TakeAZeroDenominatorAsZero) {
  const UpdateStatistics s = update({0, 0}, {3, 4});
  EXPECT_EQ(s.cosine, 0);
  EXPECT_EQ(s.relative_l2_in, 0);
  EXPECT_NEAR(s.relative_l2_out, 1, 1e-12);
}

class DepthMetrics : public test::MethodTest {
 protected:
  DepthMetrics() : MethodTest("depth-metrics") {
    scores = half_scores({0.5, 0.1, 0.2, 0.05, 0.3, 0.4}, {0.6, 0.15, 0.7, 0.8, 0.02, 0.9});
    for (std::size_t layer = 0; layer < 6; ++layer) {
      const double x = static_cast<double>(layer);
      scores.layer_updates.push_back({.cosine = 1 - (x == 1 ? 0.01 : 0.5),
                                      .l1 = x == 2 ? 1.0 : 9.0,
                                      .l2 = x == 3 ? 1.0 : 9.0,
                                      .relative_l1_in = x == 0 ? 0.1 : 0.9,
                                      .relative_l1_out = x == 4 ? 0.1 : 0.9,
                                      .relative_l2_in = x == 2 ? 0.1 : 0.9,
                                      .relative_l2_out = x == 5 ? 0.1 : 0.9});
    }
  }
};

TEST_F(DepthMetrics, LookAtTheMetricThatIsAskedFor) {
  const auto by = [&](const Json& given) {
    Json all = {{"layers", 1}};
    all.update(given);
    return dropped(propose(all).plan).front();
  };
  EXPECT_EQ(by({{"metric", "cosine"}}), 1);
  EXPECT_EQ(by({{"metric", "l1"}}), 2);
  EXPECT_EQ(by({{"metric", "l2"}}), 3);
  EXPECT_EQ(by({{"metric", "relative-l1"}}), 4);
  EXPECT_EQ(by(Json::object()), 5);
  EXPECT_EQ(by({{"metric", "relative-l1"}, {"relative-to", "in"}}), 0);
  EXPECT_EQ(by({{"relative-to", "in"}}), 2);
  EXPECT_ERROR(by({{"metric", "l1"}, {"relative-to", "in"}}), usage,
               "--relative-to goes with --metric relative-l1 or relative-l2");
  EXPECT_ERROR(by({{"metric", "l3"}}), usage, "relative-l2");
}

TEST_F(DepthMetrics, Check7SubLayersOfOneKindOrBoth) {
  const auto halves = [&](const std::string& units) {
    const Plan plan = propose({{"layers", 1}, {"metric", "cosine"}, {"units", units}}).plan;
    return std::pair(dropped_halves(plan), plan.scores.at("order").size());
  };
  EXPECT_EQ(halves("attention"), std::pair(Halves({{3, "attention"}}), std::size_t{6}));
  EXPECT_EQ(halves("mlp"), std::pair(Halves({{4, "mlp"}}), std::size_t{6}));
  EXPECT_EQ(halves("both"), std::pair(Halves({{3, "attention"}, {4, "mlp"}}), std::size_t{12}));
  EXPECT_ERROR(propose({{"halves", 2}}), usage, "with --units layers give --layers");
  EXPECT_ERROR(propose({{"cut", 2}, {"units", "mlp"}}), usage, "--cut counts whole layers");
}

TEST_F(DepthMetrics, RefuseBeforeTheyRead) {
  scores = {};
  calibration.sequences.clear();  // nothing could be read
  EXPECT_ERROR(propose({{"cut", 6}}), usage, "1 to 5 can be cut");
  EXPECT_ERROR(propose({{"halves", 2}}), usage, "with --units layers give --layers");
  EXPECT_ERROR(propose({{"halves", 7}, {"units", "mlp"}}), usage, "1 to 6 can be dropped");
  EXPECT_ERROR(propose({{"cut", 2}, {"units", "mlp"}}), usage, "--cut counts whole layers");
  EXPECT_ERROR(propose({{"layers", 1}}), resource, "");
  replacement = {.name = "lines", .before = 1};
  EXPECT_ERROR(propose({{"halves", 2}, {"units", "mlp"}}), usage, "--replace none");
}

// Blocks of Llama-2-7B and Mistral-7B, as printed in the paper's code.
TEST_F(DepthMetrics, Check11PublishedCosinesGiveThePublishedOrder) {
  model = pico_model(tiny_llama(32), 2);
  const auto set = [&](const std::vector<double>& influences) {
    scores = test::scores_with(32, 1, {});
    for (const double value : influences) scores.layer_updates.push_back({.cosine = 1 - value});
    return dropped(propose({{"layers", 3}, {"metric", "cosine"}}).plan);
  };
  EXPECT_EQ(set({.40655, .24990, .14538, .14624, .15152, .15010, .14364, .14199, .13387, .12874, .12481,
                 .11314, .10922, .11000, .10580, .10590, .10622, .08393, .07560, .06369, .06161, .04661,
                 .04402, .03651, .03473, .03079, .03321, .02987, .03320, .03373, .06029, .30719}),
            (std::vector<std::int64_t>{25, 27, 28}));
  EXPECT_EQ(set({.41315, .22294, .18502, .15421, .15791, .16194, .15580, .15514, .14192, .13151, .12525,
                 .11694, .11012, .10614, .11162, .11074, .10947, .10528, .10620, .09696, .07502, .06127,
                 .04937, .04654, .04156, .03952, .03852, .04080, .05036, .06017, .06129, .17413}),
            (std::vector<std::int64_t>{25, 26, 27}));
}

TEST_F(DepthMetrics, Check13TheOrderOfRemovalDoesNotMatter) {
  EXPECT_EQ(summary(drop_halves(6, {1, 3}, {3, 0})), summary(drop_halves(6, {3, 1}, {0, 3})));
  EXPECT_ERROR(drop_halves(6, {1, 1}, {}), mismatch, "twice");
  EXPECT_ERROR(drop_halves(6, {}, {6}), mismatch, "layers 0..5");
}

}  // namespace
}  // namespace streamline
