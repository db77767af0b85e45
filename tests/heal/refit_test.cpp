// SPDX-License-Identifier: Apache-2.0
// Matrices fitted after slicing: what others can give for what went comes back, and what cannot be is said.
#include "streamline/heal/refit.h"

#include "heal/pico.h"
#include "streamline/engine/sweep.h"
#include "streamline/heal/added_biases.h"
#include "streamline/nn/block.h"
#include "streamline/surgery/apply.h"
#include "support/core/expect.h"
#include "support/core/pico_checkpoint.h"
#include "support/core/temporary_directory.h"
#include "support/torch/reference.h"

namespace streamline {
namespace {

using namespace test;

constexpr std::int64_t kWidth = 24;

// Channel 7 of each MLP does what channel 3 does.
Model with_a_double() {
  Json json = tiny_llama(3);
  json["intermediate_size"] = kWidth;
  return pico_model(json, 5, [](const ExpectedTensor& tensor, std::vector<float>& values) {
    if (tensor.role != Role::gate && tensor.role != Role::up) return;
    const auto columns = static_cast<std::ptrdiff_t>(tensor.shape[1]);
    std::copy_n(values.begin() + 3 * columns, columns, values.begin() + 7 * columns);
  });
}

Plan without_channels(const std::vector<std::int64_t>& gone) {
  Plan plan = keep_all(3);
  for (const std::int64_t layer : {0, 2}) {
    KeptUnits units{.of = kWidth};
    for (std::int64_t i = 0; i < kWidth; ++i)
      if (std::find(gone.begin(), gone.end(), i) == gone.end()) units.kept.push_back(i);
    plan.slices[layer].channels = {units};
  }
  return plan;
}

TEST(Refit, GivesBackWhatAnotherChannelCanDo) {
  const torch::NoGradGuard no_grad;
  const Model model = with_a_double();
  const Plan plan = without_channels({7});
  const Refit refit = refit_slices(model, plan, random_tokens(24, 16, 3));
  ASSERT_EQ(refit.matrices.size(), 2u);
  for (const auto& [place, fit] : refit.matrices) {
    EXPECT_EQ(place.second, Role::down);
    EXPECT_LT(fit.after, 1e-4 * fit.before);
  }
  const auto ids = to_tensor(random_tokens(2, 9, 8), {0, 1}, torch::kCPU);
  const auto whole = forward_logits(model, ids);
  const double fitted = relative_difference(forward_logits(refit.model.view(plan, {}), ids), whole),
               plain = relative_difference(forward_logits(model.view(plan, {}), ids), whole);
  EXPECT_LT(fitted, 1e-3);
  EXPECT_GT(plain, 10 * fitted);
}

TEST(Refit, LeavesLessMissingThanSlicesDo) {
  const Model model = with_a_double();
  Plan plan = without_channels({1, 2, 5, 9, 11, 20});
  plan.slices[1].kv_heads = KeptUnits{2, {1}};
  const Refit refit = refit_slices(model, plan, random_tokens(40, 16, 3));
  EXPECT_EQ(refit.matrices.count({1, Role::o}), 1u);
  for (const auto& [place, fit] : refit.matrices) EXPECT_LE(fit.after, fit.before);
  EXPECT_LT((refit.matrices.at({0, Role::down}).after), 0.999 * (refit.matrices.at({0, Role::down}).before));
}

TEST(Refit, IsWrittenWithTheSlices) {
  const torch::NoGradGuard no_grad;
  const TemporaryDirectory directory;
  const Model model = with_a_double();
  const Plan plan = without_channels({7, 8});
  const Model fitted = refit_slices(model, plan, random_tokens(24, 16, 3)).model;
  apply_plan(fitted, plan, {}, directory.path() / "out", {.repeatable = false});
  const Model written = Model::open(Checkpoint::open(directory.path() / "out"), {});
  const auto ids = to_tensor(random_tokens(2, 9, 8), {0, 1}, torch::kCPU);
  EXPECT_LT(relative_difference(forward_logits(written, ids), forward_logits(fitted.view(plan, {}), ids)), 1e-5);
}

// Sequences of one token over and over: rotary embeddings turn q and k alone, so that all that a layer reads and gives
// is the same at every position.
TokenBatches constant_text() {
  TokenBatches text;
  for (int i = 0; i < 4; ++i) text.sequences.emplace_back(12, 7);
  return text;
}

Plan without_heads_and_channels() {
  Plan plan = without_channels({1, 2, 5, 9, 11, 20});
  plan.slices[1].kv_heads = KeptUnits{2, {1}};
  plan.slices[2].kv_heads = KeptUnits{2, {0}};
  return plan;
}

TEST(RefitBias, IsExactWhereWhatGoesIsConstant) {
  const torch::NoGradGuard no_grad;
  const Model model = with_a_double();
  const Plan plan = without_heads_and_channels();
  const TokenBatches text = constant_text();
  const Refit refit = refit_slices(model, plan, text, RefitKind::bias);
  ASSERT_EQ(refit.matrices.size(), 4u);  // down of layers 0 and 2, o of 1 and 2
  for (const auto& [place, fit] : refit.matrices) EXPECT_LT(fit.after, 1e-9 * fit.before);
  const auto ids = to_tensor(text, {0, 1}, torch::kCPU);
  const auto whole = forward_logits(model, ids);
  EXPECT_LT(relative_difference(forward_logits(refit.model.view(plan, {}), ids), whole), 1e-4);
  EXPECT_GT(relative_difference(forward_logits(model.view(plan, {}), ids), whole), 1e-2);
}

TEST(RefitBias, LeavesTheFluctuation) {
  const Model model = with_a_double();
  const Refit refit = refit_slices(model, without_heads_and_channels(), random_tokens(40, 16, 3, 8), RefitKind::bias);
  for (const auto& [place, fit] : refit.matrices) {
    EXPECT_LT(fit.after, fit.before);
    EXPECT_GT(fit.after, 0.01 * fit.before);
    EXPECT_EQ(fit.ridge, 0);
  }
}

// Those of the sliced halves; of all others the configuration promises zeros.
TEST(RefitBias, IsPartOfAnOrdinaryModel) {
  const torch::NoGradGuard no_grad;
  const TemporaryDirectory directory;
  const Model model = with_a_double();
  const Plan plan = without_heads_and_channels();
  const Model fitted = refit_slices(model, plan, random_tokens(24, 16, 3), RefitKind::bias).model;
  EXPECT_EQ(fitted.checkpoint().digest(), model.checkpoint().digest());
  for (std::int64_t layer = 0; layer < 3; ++layer) {
    const LayerWeights weights = fitted.layer(layer);
    for (const Role role : {Role::q, Role::k, Role::v, Role::gate, Role::up})
      EXPECT_EQ(weights.at(role).bias.count_nonzero().item<std::int64_t>(), 0) << layer << role_name(role);
    EXPECT_EQ(weights.at(Role::o).bias.any().item<bool>(), layer > 0);
    EXPECT_EQ(weights.at(Role::down).bias.any().item<bool>(), layer != 1);
  }
  const AppliedPlan applied = apply_plan(fitted, plan, {}, directory.path() / "out", {.repeatable = false});
  EXPECT_TRUE(applied.ordinary);
  const auto checkpoint = Checkpoint::open(directory.path() / "out");
  EXPECT_EQ(checkpoint->config().at("attention_bias"), true);
  EXPECT_EQ(checkpoint->config().at("mlp_bias"), true);
  const auto ids = to_tensor(random_tokens(2, 9, 8), {0, 1}, torch::kCPU);
  EXPECT_LT(
      relative_difference(forward_logits(Model::open(checkpoint, {}), ids), forward_logits(fitted.view(plan, {}), ids)),
      1e-5);
}

TEST(RefitBias, AddsToABiasThatIsThere) {
  const torch::NoGradGuard no_grad;
  Json json = tiny_llama(2);
  json.update({{"attention_bias", true}, {"mlp_bias", true}});
  const Model model = pico_model(json, 5);
  Plan plan = keep_all(2);
  plan.slices[0].kv_heads = KeptUnits{2, {1}};
  const Model fitted = refit_slices(model, plan, constant_text(), RefitKind::bias).model;
  EXPECT_TRUE(torch::equal(fitted.layer(0).at(Role::v).bias, model.layer(0).at(Role::v).bias));
  EXPECT_FALSE(torch::equal(fitted.layer(0).at(Role::o).bias, model.layer(0).at(Role::o).bias));
  EXPECT_TRUE(torch::equal(fitted.layer(1).at(Role::o).bias, model.layer(1).at(Role::o).bias));
  const auto ids = to_tensor(constant_text(), {0}, torch::kCPU);
  EXPECT_LT(relative_difference(forward_logits(fitted.view(plan, {}), ids), forward_logits(model, ids)), 1e-4);
}

TEST(RefitBias, IsRefusedWhereTheFamilyCannotHoldIt) {
  const Model model = pico_model(tiny_qwen3(), 5);
  Plan plan = keep_all(4);
  plan.slices[1].channels = {KeptUnits{176, {0, 1, 2}}};
  EXPECT_ERROR(refit_slices(model, plan, random_tokens(4, 16, 3), RefitKind::bias), unsupported,
               "has no key for a bias of the MLP's last matrix; slice only heads");
  EXPECT_ERROR(check_refit(model.config(), RefitKind::bias, true, true), unsupported, "MLP's last matrix");
  EXPECT_ERROR(parse_refit("ridge"), usage, "least-squares and bias");
  check_refit(model.config(), RefitKind::bias, true, false);
  check_refit(model.config(), RefitKind::least_squares, true, true);
}

// Every family that can hold the biases of a half gets an ordinary model.
TEST(RefitBias, IsWrittenOfEveryFamilyThatHasAKey) {
  const torch::NoGradGuard no_grad;
  int held = 0;
  for (const Family* family : families()) {
    SCOPED_TRACE(family->name);
    const Model model =
        Model::open(pico_checkpoint(pico_config(std::string(family->name)), 3), {.dtype = torch::kFloat64});
    const LayerConfig& first = model.config().layers[0];
    Plan plan = keep_all(model.layer_count());
    if (first.attention->qk_norm != QkNorm::whole && why_no_bias(model.config(), 0, Role::o).empty())
      plan.slices[0].kv_heads = KeptUnits{first.attention->kv_heads, {0}};
    if (first.attention->kv_heads == 1) plan.slices[0].kv_heads.reset();
    if (why_no_bias(model.config(), 0, Role::down).empty())
      plan.slices[0].channels = {KeptUnits{first.mlp->intermediate, {0, 2, 3}}};
    if (plan.slices[0].empty()) continue;
    ++held;
    const TemporaryDirectory directory;
    const Model fitted = refit_slices(model, plan, random_tokens(6, 9, 3, 32), RefitKind::bias).model;
    const AppliedPlan applied = apply_plan(fitted, plan, {}, directory.path() / "out", {.repeatable = false});
    EXPECT_TRUE(applied.ordinary || family->traits.block_configs);
    EXPECT_LT(applied.largest_logit_difference.value(), 1e-5);
  }
  EXPECT_GT(held, 8);
}

// What halves and layers gave, with only that text to say it.
Plan without_halves(std::vector<Segment> segments) {
  Plan plan = keep_all(4);
  plan.segments = std::move(segments);
  return plan;
}

const std::vector<std::vector<Segment>> kGoneWhole = {
    {{0, 0, Action::keep}, {1, 2, Action::drop}, {3, 3, Action::keep}},
    {{0, 1, Action::keep}, {2, 2, Action::drop_attention}, {3, 3, Action::keep}},
    {{0, 0, Action::keep}, {1, 1, Action::drop_mlp}, {2, 2, Action::drop_attention}, {3, 3, Action::drop}},
};

void expect_exact_of_a_constant(const Model& model, const Plan& plan, std::size_t updates) {
  const TokenBatches text = constant_text();
  const auto ids = to_tensor(text, {0, 1}, torch::kCPU);
  const auto whole = forward_logits(model, ids);
  const Refit refit = refit_slices(model, plan, text, RefitKind::bias);
  EXPECT_EQ(refit.updates.size(), updates);
  for (const EmulatedUpdate& update : refit.updates) EXPECT_LT(update.after, 1e-9 * update.before);
  EXPECT_LT(relative_difference(forward_logits(refit.model.view(plan, {}), ids), whole), 1e-4);
  EXPECT_GT(relative_difference(forward_logits(model.view(plan, {}), ids), whole), 1e-3);
}

// Check 9 of the depth study: a constant stands for a constant.
TEST(EmulatedUpdate, IsExactWhereWhatGoesIsConstant) {
  const torch::NoGradGuard no_grad;
  const Model model = pico_model(tiny_llama(4), 5);
  for (const auto& segments : kGoneWhole)
    expect_exact_of_a_constant(model, without_halves(segments), segments.size() == 4 ? 2 : 1);
}

TEST(EmulatedUpdate, AddsToTheBiasThatASliceNeeds) {
  const torch::NoGradGuard no_grad;
  Plan plan = without_halves(kGoneWhole[0]);
  const Model model = pico_model(tiny_llama(4), 5);
  KeptUnits half{.of = model.config().layers[0].mlp->intermediate};
  for (std::int64_t i = 0; i < half.of; i += 2) half.kept.push_back(i);
  plan.slices[0].channels = {half};
  expect_exact_of_a_constant(model, plan, 1);
}

TEST(EmulatedUpdate, KnowsWhatHalvesAreMultipliedBy) {
  const torch::NoGradGuard no_grad;
  Json json = pico_config("granite");
  json["residual_multiplier"] = 0.22;
  const Model model = pico_model(json, 5);
  Plan plan = drop_layers(model.layer_count(), {1});
  expect_exact_of_a_constant(model, plan, 1);
}

// Check 9 of the depth study: of the text that it was measured on nothing is missing in the mean.
TEST(EmulatedUpdate, IsTheMeanWithoutFirstPositions) {
  const torch::NoGradGuard no_grad;
  const Model model = pico_model(tiny_llama(4), 5);
  const Plan plan = without_halves(kGoneWhole[1]);
  const TokenBatches text = random_tokens(8, 12, 3);
  const Refit refit = refit_slices(model, plan, text, RefitKind::bias);
  ASSERT_EQ(refit.updates.size(), 1u);
  EXPECT_EQ(refit.updates[0].place, std::make_pair(std::int64_t{1}, Role::down));
  EXPECT_EQ(refit.updates[0].first, 2);
  EXPECT_EQ(refit.updates[0].last, 2);
  torch::Tensor sum;
  for (std::int64_t i = 0; i < 7; ++i) {  // the last one judges
    const auto ids = to_tensor(text, {i}, torch::kCPU);
    const Positions positions = rope_positions(model.config(), 0, ids.size(1), torch::kCPU);
    torch::Tensor x = model.embed(ids);
    for (const std::int64_t layer : {0, 1}) x = block_forward(model.config(), model.layer(layer), x, positions);
    const auto update = attention_half(model.config(), model.layer(2), x, positions).slice(1, 1).sum({0, 1});
    sum = sum.defined() ? sum + update : update;
  }
  const auto mean = sum / (7.0 * 11.0);
  EXPECT_LT(relative_difference(refit.model.layer(1).at(Role::down).bias, mean), 1e-5);
  EXPECT_GT(refit.updates[0].after, 0);
}

TEST(EmulatedUpdate, IsWrittenIntoAnOrdinaryModelOfPackedHalves) {
  const torch::NoGradGuard no_grad;
  const Model model = pico_model(tiny_llama(4), 5);
  const auto ids = to_tensor(random_tokens(2, 9, 8), {0, 1}, torch::kCPU);
  for (const auto& segments : kGoneWhole) {
    const TemporaryDirectory directory;
    const Plan plan = without_halves(segments);
    const Model fitted = refit_slices(model, plan, random_tokens(24, 16, 3), RefitKind::bias).model;
    EXPECT_TRUE(apply_plan(fitted, plan, {}, directory.path() / "out", {.repeatable = false}).ordinary);
    const Model written = Model::open(Checkpoint::open(directory.path() / "out"), {});
    EXPECT_LT(relative_difference(forward_logits(written, ids), forward_logits(fitted.view(plan, {}), ids)), 1e-5);
  }
}

TEST(EmulatedUpdate, StandsBesideParallelHalves) {
  const torch::NoGradGuard no_grad;
  int tried = 0;
  for (const Family* family : families()) {
    SCOPED_TRACE(family->name);
    const Model model =
        Model::open(pico_checkpoint(pico_config(std::string(family->name)), 3), {.dtype = torch::kFloat64});
    if (model.config().layers[1].residual != Residual::parallel) continue;
    if (!why_no_constant(model.config(), 1, Role::o).empty()) continue;
    ++tried;
    TokenBatches text;
    for (int i = 0; i < 4; ++i) text.sequences.emplace_back(6, 7);
    const auto ids = to_tensor(text, {0}, torch::kCPU);
    const auto whole = forward_logits(model, ids);
    Plan beside = keep_all(model.layer_count());
    beside.segments = {{0, 0, Action::keep}, {1, 1, Action::drop_mlp}};
    if (model.layer_count() > 2) beside.segments.push_back({2, model.layer_count() - 1, Action::keep});
    for (const Plan& plan : {beside, drop_layers(model.layer_count(), {1})}) {
      const Refit refit = refit_slices(model, plan, text, RefitKind::bias);
      EXPECT_TRUE(refit.updates.at(0).place.has_value());
      EXPECT_LT(relative_difference(forward_logits(refit.model.view(plan, {}), ids), whole), 1e-6);
    }
  }
  EXPECT_GT(tried, 0);
}

TEST(EmulatedUpdate, SaysWhereNothingCanStand) {
  const Model model = pico_model(tiny_llama(4), 5);
  const Plan first = without_halves({{0, 0, Action::drop_attention}, {1, 3, Action::keep}});
  const Refit refit = refit_slices(model, first, random_tokens(4, 16, 3), RefitKind::bias);
  ASSERT_EQ(refit.updates.size(), 1u);
  EXPECT_FALSE(refit.updates[0].place);
  EXPECT_EQ(refit.updates[0].why, "nothing before it stays");
  EXPECT_ERROR(refit_slices(model, first, random_tokens(4, 16, 3)), usage, "slices nothing");
  EXPECT_ERROR(refit_slices(model, keep_all(4), random_tokens(4, 16, 3), RefitKind::bias), usage, "slices nothing");
  EXPECT_EQ(refit.updates[0].after, refit.updates[0].before);
  check_emulated_updates(model.config(), DroppedUnits::layers);
  const Model normed = pico_model(pico_config("gemma2"), 3);
  EXPECT_ERROR(
      check_emulated_updates(normed.config(), DroppedUnits::halves), unsupported,
      "layer 0 has a norm between its MLP and the residual stream; for a run of layers there is --replace mean");
  // A bias of the attention's last matrix alone stands behind no whole layer.
  const Config qwen = pico_model(tiny_qwen3(), 5).config();
  check_emulated_updates(qwen, DroppedUnits::halves);
  EXPECT_ERROR(check_emulated_updates(qwen, DroppedUnits::layers), unsupported, "MLP's last matrix");
}

TEST(Refit, SaysWhatItNeeds) {
  const Model model = with_a_double();
  EXPECT_ERROR(refit_slices(model, keep_all(3), random_tokens(4, 16, 3)), usage, "slices nothing");
  EXPECT_ERROR(refit_slices(model, without_channels({7}), random_tokens(1, 16, 3)), resource, "two sequences");
  EXPECT_ERROR(refit_slices(model, without_channels({7}), random_tokens(2, 16, 3)), resource,
               "down of layer 0 has 23 columns to fit and the text has 16 tokens for it; give at least 23");
}

}  // namespace
}  // namespace streamline
