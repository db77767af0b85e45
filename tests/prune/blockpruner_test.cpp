// SPDX-License-Identifier: Apache-2.0
// BlockPruner against its specification; checks are named by their number there.
#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "prune/method_fixture.h"
#include "streamline/arch/cache_size.h"
#include "streamline/arch/open_checkpoint.h"
#include "streamline/plan/drop_halves.h"
#include "streamline/prune/half_losses.h"
#include "streamline/prune/method.h"
#include "support/core/expect.h"
#include "support/torch/pico.h"

namespace streamline {
namespace {

using testing::ElementsAre;

constexpr std::int64_t kLayers = 4;

TokenBatches some_text(std::int64_t sequences = 6, std::int64_t length = 12) {
  TokenBatches text;
  const torch::Tensor ids = test::pico_ids(sequences, length, 64, 11);
  for (std::int64_t i = 0; i < sequences; ++i) {
    const auto* row = ids[i].contiguous().const_data_ptr<std::int64_t>();
    text.sequences.emplace_back(row, row + length);
  }
  text.source = "random tokens";
  text.digest = "of random tokens";
  return text;
}

// The model of some layers whose halves add nothing: their last matrices are zero.
Model model_with_zeros(const std::vector<Half>& zeros, std::int64_t layers = kLayers, std::uint64_t seed = 1) {
  const Family& family = test::family_named("llama");
  const test::PicoOptions options{.layers = layers, .seed = seed};
  test::PicoTensors tensors = test::pico_tensors(family, options);
  for (const Half& half : zeros) {
    const std::string name = "model.layers." + std::to_string(half.layer) +
                             (half.attention ? ".self_attn.o_proj.weight" : ".mlp.down_proj.weight");
    tensors.at(name).zero_();
  }
  return Model::open(Checkpoint::open(test::pico_files(test::pico_config(family, options), tensors, DType::f32)), {});
}

Json params(Json given) { return resolve_params(find_method("blockpruner").params, given, "test"); }

Proposal propose(const Model& model, const TokenBatches& text, const Json& given) {
  PruneContext context{.model = model, .calibration = text};
  return find_method("blockpruner").propose(context, params(given));
}

// What the model itself says after tokens that are drawn, each time the likeliest token: without a half that does
// anything it becomes less likely.
TokenBatches its_own_words(const Model& model) {
  torch::Tensor ids = test::pico_ids(12, 1, 64, 3);
  for (int step = 0; step < 11; ++step)
    ids = torch::cat({ids, forward_logits(model, ids).select(1, -1).argmax(-1, /*keepdim=*/true)}, 1);
  TokenBatches text = some_text(12);
  for (std::int64_t i = 0; i < 12; ++i) {
    const auto row = ids[i].contiguous();
    const auto* tokens = row.const_data_ptr<std::int64_t>();
    text.sequences[static_cast<std::size_t>(i)].assign(tokens, tokens + 12);
  }
  return text;
}

std::vector<std::string> order(const Proposal& proposal) {
  std::vector<std::string> names;
  for (const Json& round : proposal.plan.scores["rounds"]) names.push_back(round["half"].get<std::string>());
  return names;
}

// The halves that a plan takes out, by name.
std::set<std::string> taken_out(const Plan& plan) {
  std::set<std::string> names;
  for (const Segment& segment : plan.segments)
    for (std::int64_t layer = segment.first; layer <= segment.last; ++layer) {
      if (segment.action == Action::drop || segment.action == Action::drop_attention) names.insert(name({layer, true}));
      if (segment.action == Action::drop || segment.action == Action::drop_mlp) names.insert(name({layer, false}));
    }
  return names;
}

// As the definition has it: the plan's view, every sequence through the whole model.
double naive_loss(const Model& model, const TokenBatches& text) {
  double total = 0;
  for (const auto& sequence : text.sequences) {
    const std::vector<std::int64_t> tokens(sequence.begin(), sequence.end());
    const auto ids = torch::tensor(tokens);
    const auto logits = forward_logits(model, ids.slice(0, 0, -1).unsqueeze(0)).squeeze(0).to(torch::kDouble);
    total -= logits.log_softmax(-1).gather(1, ids.slice(0, 1).unsqueeze(1)).mean().item<double>();
  }
  return total / static_cast<double>(text.sequences.size());
}

Plan without(const std::vector<Half>& halves) {
  Plan plan = keep_all(kLayers);
  plan.segments.clear();
  for (std::int64_t layer = 0; layer < kLayers; ++layer) {
    const bool attention = std::ranges::find(halves, Half{layer, true}) != halves.end();
    const bool mlp = std::ranges::find(halves, Half{layer, false}) != halves.end();
    plan.segments.push_back({.first = layer,
                             .last = layer,
                             .action = attention && mlp ? Action::drop
                                       : attention      ? Action::drop_attention
                                       : mlp            ? Action::drop_mlp
                                                        : Action::keep});
  }
  return plan;
}

TEST(BlockPruner, Check1NothingAndAllTakenOut) {
  const Model model = test::pico_model(test::family_named("llama"), {.layers = kLayers});
  const TokenBatches text = some_text();
  const std::vector<Half> all = all_halves(model);
  HalfCounter counter;
  const HalfLosses losses = half_losses(model, all, {}, text, {}, counter);
  EXPECT_NEAR(losses.whole, naive_loss(model, text), 1e-6);
  const HalfLosses none = half_losses(model, {}, {}, text, {}, counter);
  EXPECT_NEAR(none.whole, naive_loss(model.truncated(0), text), 1e-6);
}

TEST(BlockPruner, Check2CountsItsEvaluations) {
  const Model model = test::pico_model(test::family_named("llama"), {.layers = kLayers});
  const TokenBatches text = some_text(2);
  EXPECT_EQ(propose(model, text, {{"halves", 3}}).plan.scores["evaluations"], 8 + 7 + 6);
  EXPECT_EQ(propose(model, text, {{"halves", 2}, {"kind", "attention"}}).plan.scores["evaluations"], 4 + 3);
  const Model deep = test::pico_model(test::family_named("llama"), {.layers = 32});
  const Json given = {{"halves", 5}, {"kind", "attention"}};
  EXPECT_EQ(propose(deep, some_text(1, 3), given).plan.scores["evaluations"], 150);
  EXPECT_EQ(propose(deep, some_text(1, 2), {{"halves", 17}}).plan.scores["evaluations"], 952);
}

TEST(BlockPruner, Check3AHalfThatAddsNothingCostsNothing) {
  const Model model = model_with_zeros({{2, true}});
  const TokenBatches text = some_text();
  const std::vector<Half> all = all_halves(model), candidate = {{2, true}};
  HalfCounter counter;
  const HalfLosses losses = half_losses(model, all, candidate, text, {}, counter);
  EXPECT_EQ(losses.without[0], losses.whole);
}

TEST(BlockPruner, Check3AHalfThatAddsNothingGoesFirst) {
  const Model model = model_with_zeros({{2, true}});
  const TokenBatches text = its_own_words(model);
  const std::vector<Half> all = all_halves(model);
  HalfCounter counter;
  const HalfLosses losses = half_losses(model, all, all, text, {}, counter);
  for (std::size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(losses.without[i] > losses.whole, all[i] != (Half{2, true})) << name(all[i]);
  EXPECT_THAT(order(propose(model, text, {{"halves", 1}})), ElementsAre("A2"));
}

TEST(BlockPruner, Check4SetsAreNested) {
  const Model model = test::pico_model(test::family_named("llama"), {.layers = kLayers});
  const TokenBatches text = some_text();
  const auto three = order(propose(model, text, {{"halves", 3}})), five = order(propose(model, text, {{"halves", 5}}));
  ASSERT_EQ(three.size(), 3U);
  EXPECT_THAT(five, testing::SizeIs(5));
  EXPECT_TRUE(std::equal(three.begin(), three.end(), five.begin()));
}

TEST(BlockPruner, Check4WhatSetsDifferByIsTheOrderOfTheLog) {
  const Model model = test::pico_model(test::family_named("llama"), {.layers = kLayers});
  const TokenBatches text = some_text();
  std::set<std::string> before;
  std::vector<std::string> found;
  for (int halves = 1; halves <= 6; ++halves) {
    const std::set<std::string> now = taken_out(propose(model, text, {{"halves", halves}}).plan);
    EXPECT_EQ(std::ssize(now), halves);
    EXPECT_TRUE(std::ranges::includes(now, before));
    std::ranges::set_difference(now, before, std::back_inserter(found));
    before = now;
  }
  EXPECT_EQ(found, order(propose(model, text, {{"halves", 6}})));
}

TEST(BlockPruner, Check5BothHalvesAreTheLayer) {
  const Model model = model_with_zeros({{1, true}, {1, false}});
  const TokenBatches text = some_text();
  Plan plan = propose(model, text, {{"halves", 2}, {"protect", {0, 2, 3}}}).plan;
  ASSERT_EQ(plan.segments.size(), 3U);
  EXPECT_EQ(plan.segments[1].action, Action::drop);
  const Model cut = model.view(plan, {}), dropped = model.view(drop_layers(kLayers, {1}), {});
  EXPECT_EQ(cut.layer_count(), kLayers - 1);
  const torch::Tensor ids = test::pico_ids(2, 9, 64, 4);
  EXPECT_TRUE(torch::equal(forward_logits(cut, ids), forward_logits(dropped, ids)));
}

// Not of a layer that adds nothing, and half by half as the search has it.
TEST(BlockPruner, Check5WithoutBothHalvesTheLossIsThatWithoutTheLayer) {
  const Model model = test::pico_model(test::family_named("llama"), {.layers = kLayers});
  const TokenBatches text = some_text();
  std::vector<Half> active = all_halves(model);
  std::erase_if(active, [](const Half& half) { return half.layer == 1; });
  HalfCounter counter;
  const Model dropped = model.view(drop_layers(kLayers, {1}), {});
  EXPECT_EQ(half_losses(model, active, {}, text, {}, counter).whole,
            half_losses(dropped, all_halves(dropped), {}, text, {}, counter).whole);
  const torch::Tensor ids = test::pico_ids(2, 9, 64, 4);
  EXPECT_TRUE(torch::equal(forward_logits(model.view(without({{1, true}, {1, false}}), {}), ids),
                           forward_logits(dropped, ids)));
}

TEST(BlockPruner, Check6SharedActivationsGiveTheSameLosses) {
  const Model model = test::pico_model(test::family_named("llama"), {.layers = kLayers});
  const TokenBatches text = some_text();
  const std::vector<Half> all = all_halves(model);
  HalfCounter counter;
  const HalfLosses losses = half_losses(model, all, all, text, {.stop_early = false}, counter);
  const std::int64_t halves = std::ssize(all);
  EXPECT_EQ(counter.halves, halves + halves * (halves - 1) / 2);  // one batch
  for (std::size_t i = 0; i < all.size(); ++i)
    EXPECT_NEAR(losses.without[i], naive_loss(model.view(without({all[i]}), {}), text), 1e-6) << name(all[i]);
  const Model deep = test::pico_model(test::family_named("llama"), {.layers = 32});
  const std::vector<Half> halves_of_deep = all_halves(deep);
  HalfCounter deep_counter;
  half_losses(deep, halves_of_deep, halves_of_deep, some_text(1, 3), {}, deep_counter);
  EXPECT_EQ(deep_counter.halves, 2080);
}

TEST(BlockPruner, Check7MeansAreOverSequences) {
  // A head of zeros makes every token as likely as any other.
  const Family& family = test::family_named("llama");
  test::PicoTensors tensors = test::pico_tensors(family, {.layers = kLayers});
  tensors.at("lm_head.weight").zero_();
  const Model model = Model::open(
      Checkpoint::open(test::pico_files(test::pico_config(family, {.layers = kLayers}), tensors, DType::f32)), {});
  HalfCounter counter;
  TokenBatches text = some_text(3);
  text.sequences[1].resize(5);  // another length is another batch, and counts as much
  EXPECT_NEAR(std::exp(half_losses(model, all_halves(model), {}, text, {}, counter).whole), 64, 1e-4);
  const Model other = test::pico_model(family, {.layers = kLayers});
  EXPECT_NEAR(half_losses(other, all_halves(other), {}, text, {}, counter).whole, naive_loss(other, text), 1e-6);
}

// Two rows of one token each, which predict themselves by a head that knows no other: with 1 and 3 nats.
TEST(BlockPruner, Check7TheMeanOfOneAndThreeNatsIsTwo) {
  const Family& family = test::family_named("llama");
  const test::PicoOptions options{.layers = 1};
  test::PicoTensors tensors = test::pico_tensors(family, options);
  for (const char* silent : {"self_attn.o_proj", "mlp.down_proj"})
    tensors.at("model.layers.0." + std::string(silent) + ".weight").zero_();
  torch::Tensor &embedding = tensors.at("model.embed_tokens.weight"), &head = tensors.at("lm_head.weight");
  tensors.at("model.norm.weight").fill_(1);
  embedding.zero_();
  head.zero_();
  TokenBatches text = some_text(2);
  for (const std::int64_t token : {1, 2}) {
    // Of the root mean square 1, so that its one component is the root of the width; e^logit / (e^logit + others).
    embedding[token][token] = 100;
    const double others = static_cast<double>(options.vocab) - 1, nats = token == 1 ? 1 : 3;
    head[token][token] = std::log(others / (std::exp(nats) - 1)) / std::sqrt(static_cast<double>(options.hidden));
    text.sequences[static_cast<std::size_t>(token - 1)].assign(12, token);
  }
  const Model model =
      Model::open(Checkpoint::open(test::pico_files(test::pico_config(family, options), tensors, DType::f32)), {});
  HalfCounter counter;
  EXPECT_NEAR(std::exp(half_losses(model, all_halves(model), {}, text, {}, counter).whole), 7.389, 1e-3);
}

TEST(BlockPruner, Check8TiesGoToAttentionsThenToTheFirstLayer) {
  const Model model = model_with_zeros({{1, true}, {1, false}, {3, true}, {3, false}});
  const TokenBatches text = some_text();
  const Proposal proposal = propose(model, text, {{"halves", 4}, {"protect", {0, 2}}});
  EXPECT_THAT(order(proposal), ElementsAre("A1", "A3", "M1", "M3"));
}

TEST(BlockPruner, Check9WhatIsNoNumberIsNeverChosen) {
  const Family& family = test::family_named("llama");
  test::PicoTensors tensors = test::pico_tensors(family, {.layers = kLayers});
  tensors.at("model.layers.1.mlp.down_proj.weight").fill_(NAN);
  const auto files = test::pico_files(test::pico_config(family, {.layers = kLayers}), tensors, DType::f32);
  const Model model = Model::open(Checkpoint::open(files), {});
  HalfCounter counter;
  const std::vector<Half> all = all_halves(model);
  const HalfLosses losses = half_losses(model, all, all, some_text(), {}, counter);
  for (std::size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(std::isfinite(losses.without[i]), all[i] == (Half{1, false})) << name(all[i]);
  const std::vector<Half> others = {{0, true}, {2, false}};
  EXPECT_ERROR(half_losses(model, all, others, some_text(), {}, counter), numeric, "not a number");
}

TEST(BlockPruner, Check10PublishedSharesOfTheParameters) {
  const Config whole = test::llama_2_7b();
  const auto all = static_cast<double>(total_parameters(whole));
  const auto share = [&](std::size_t attentions, std::size_t mlps) {
    Config cut = whole;
    for (std::size_t i = 0; i < attentions; ++i) cut.layers[i].attention.reset();
    for (std::size_t i = 0; i < mlps; ++i) cut.layers[31 - i].mlp.reset();
    return 100 * (1 - static_cast<double>(total_parameters(cut)) / all);
  };
  EXPECT_EQ(total_parameters(whole), 6'738'415'616);
  EXPECT_NEAR(share(12, 5), 21.99, 0.005);
  EXPECT_NEAR(share(13, 7), 27.00, 0.005);
  EXPECT_NEAR(share(7, 7), 21.02, 0.005);
}

TEST(BlockPruner, Check11GivingUpEarlyChoosesTheSame) {
  const Model model =
      Model::open(open_checkpoint(std::filesystem::path(STREAMLINE_SOURCE_DIR) / "models/books-5m"), {});
  TokenBatches text;
  const torch::Tensor ids = test::pico_ids(8, 24, 4096, 5);
  for (std::int64_t i = 0; i < 8; ++i) {
    const auto* row = ids[i].contiguous().const_data_ptr<std::int64_t>();
    text.sequences.emplace_back(row, row + 24);
  }
  const std::vector<Half> all = all_halves(model);
  HalfCounter early_counter, counter;
  const HalfLosses early = half_losses(model, all, all, text, {.batch_tokens = 24, .stop_early = true}, early_counter);
  const HalfLosses complete = half_losses(model, all, all, text, {.batch_tokens = 24}, counter);
  const auto best = std::ranges::min_element(complete.without) - complete.without.begin();
  EXPECT_EQ(std::ranges::min_element(early.without) - early.without.begin(), best);
  EXPECT_NEAR(early.whole, complete.whole, 1e-9);
  EXPECT_GT(std::ranges::count(early.without, std::numeric_limits<double>::infinity()), 0);
}

TEST(BlockPruner, Check12AttentionsThatAreGoneNeedNoCache) {
  const Model model = test::pico_model(test::family_named("llama"), {.layers = 32});
  std::vector<std::int64_t> gone(13);
  std::iota(gone.begin(), gone.end(), 15);
  const Config left = model.view(drop_halves(32, gone, {}), {}).config();
  EXPECT_EQ(std::ranges::count_if(left.layers, [](const LayerConfig& layer) { return layer.attention.has_value(); }),
            19);
  EXPECT_EQ(cache_values_per_token(left) * 32, cache_values_per_token(model.config()) * 19);
}

TEST(BlockPruner, Check13TheFirstRoundIsLeaveOneOut) {
  const Model model = test::pico_model(test::family_named("llama"), {.layers = kLayers});
  const TokenBatches text = some_text();
  const std::vector<Half> all = all_halves(model);
  HalfCounter counter;
  const std::vector<double> losses = half_losses(model, all, all, text, {}, counter).without;
  const Method& method = find_method("leave-one-out");
  PruneContext context{.model = model, .calibration = text};
  const Json given = resolve_params(method.params, {{"halves", 1}, {"units", "both"}}, "test");
  const Plan alone = method.propose(context, given).plan;
  const Json& units = alone.scores.at("estimates").at("units");
  ASSERT_EQ(units.size(), all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(units[i].at("unit"), name(all[i]));
    EXPECT_NEAR(units[i].at("without").get<double>(), losses[i], 1e-6);
  }
  EXPECT_EQ(to_json(propose(model, text, {{"halves", 1}}).plan).at("segments"), to_json(alone).at("segments"));
}

TEST(BlockPruner, GivingUpEarlyLeavesTheOrder) {
  const Model model = test::pico_model(test::family_named("llama"), {.layers = kLayers});
  const TokenBatches text = some_text(8);
  PruneContext context{.model = model, .calibration = text, .sweep = {.batch_tokens = 24}};
  const Method& method = find_method("blockpruner");
  EXPECT_EQ(order(method.propose(context, params({{"halves", 5}}))),
            order(method.propose(context, params({{"halves", 5}, {"early-stop", true}}))));
}

TEST(BlockPruner, ABudgetOfLayersIsOneOfParameters) {
  const Model model = test::pico_model(test::family_named("llama"), {.layers = kLayers});
  const Proposal proposal = propose(model, some_text(), {{"layers", 2}});
  const Model view = model.view(proposal.plan, {});
  const std::int64_t layer = layer_parameters(model.config(), model.config().layers[0]);
  EXPECT_NEAR(static_cast<double>(model.parameters() - view.parameters()), 2.0 * static_cast<double>(layer),
              0.5 * static_cast<double>(layer));
  EXPECT_EQ(proposal.plan.scores["parameters_saved"], model.parameters() - view.parameters());
}

TEST(BlockPruner, RefusesWhatItCannotDo) {
  const Model model = test::pico_model(test::family_named("llama"), {.layers = kLayers});
  const TokenBatches text = some_text(2);
  EXPECT_ERROR(propose(model, text, Json::object()), usage, "exactly one of --layers, --halves and --sparsity");
  EXPECT_ERROR(propose(model, text, {{"halves", 8}}), usage, "one must stay");
  EXPECT_ERROR(propose(model, text, {{"halves", 3}, {"protect", {0, 1, 2}}}), usage, "only 2 may be taken out");
  const Model parallel = test::pico_model(test::family_named("phi"), {.layers = 2, .kv_heads = 4});
  EXPECT_ERROR(propose(parallel, text, {{"halves", 1}}), unsupported, "one behind the other");
}

}  // namespace
}  // namespace streamline
