// SPDX-License-Identifier: Apache-2.0
// The acceptance checks S1 … S11 of the specification of SHERL, by their numbers.
#include "streamline/heal/sherl.h"

#include <cmath>

#include "streamline/engine/decoder.h"
#include "streamline/engine/tail.h"
#include "streamline/eval/perplexity.h"
#include "streamline/heal/objective.h"
#include "streamline/heal/sherl_tuning.h"
#include "tests/heal/pico.h"
#include "tests/support/core/expect.h"
#include "tests/support/core/temporary_directory.h"
#include "tests/support/torch/held_memory.h"

namespace streamline {
namespace {

using test::pico_model;

SherlMerge merged(const std::vector<std::vector<double>>& pool, const std::vector<double>& guide,
                  const std::vector<double>& score) {
  auto rows = torch::empty({std::ssize(pool), std::ssize(guide)}, torch::kFloat64);
  for (std::size_t i = 0; i < pool.size(); ++i)
    rows[static_cast<std::int64_t>(i)] = torch::tensor(pool[i], torch::kFloat64);
  return merge_pool(rows, torch::tensor(guide, torch::kFloat64), torch::tensor(score, torch::kFloat64),
                    torch::zeros({}, torch::kFloat64));
}

void expect_near(const torch::Tensor& found, const std::vector<double>& expected, double tolerance = 2e-5) {
  EXPECT_TRUE(torch::allclose(found, torch::tensor(expected, torch::kFloat64), 0, tolerance)) << found;
}

// A tiny adapter with values everywhere, of the width 4.
SherlAdapter some_adapter(const Model& model, std::int64_t late = 2, torch::ScalarType type = torch::kFloat32) {
  Rng rng(5);
  SherlAdapter adapter = initial_sherl(model, {.late = late, .features = 4, .reduction = 16}, rng);
  torch::manual_seed(3);
  for (torch::Tensor* tensor : adapter.tensors()) *tensor = (0.3 * torch::randn(tensor->sizes())).to(type);
  return adapter;
}

std::vector<torch::Tensor> random_states(std::int64_t count, torch::ScalarType type = torch::kFloat32) {
  torch::manual_seed(11);
  std::vector<torch::Tensor> states;
  for (std::int64_t i = 0; i < count; ++i) states.push_back(torch::randn({2, 5, 64}).to(type));
  return states;
}

class Sherl : public testing::Test {
 protected:
  Model model_ = pico_model(test::tiny_llama(6), 1);
};

TEST_F(Sherl, S1LetsEqualMembersShareOneWeight) {
  const SherlMerge found = merged({{1, 0}, {1, 0}, {0, 1}}, {1, 1}, {1, 1});
  expect_near(found.redundancy, {2, 2, 1});
  expect_near(found.weights, {.25, .25, .5});
  expect_near(found.merged, {1.5, 1.5});
}

TEST_F(Sherl, S2WeighsByTheGuide) {
  const SherlMerge found = merged({{1, 0}, {0, 1}}, {2, 1}, {1, 1});
  expect_near(found.redundancy, {1, 1});
  expect_near(found.weights, {2.0 / 3, 1.0 / 3});
  expect_near(found.merged, {2.666667, 1.333333});
}

TEST_F(Sherl, S3DoesNotTakeOppositesForAlike) {
  const SherlMerge found = merged({{1, 0}, {-1, 0}}, {1, 1}, {1, 1});
  expect_near(found.redundancy, {1, 1});
  expect_near(found.weights, {1, 0});
  expect_near(found.merged, {2, 1});
}

TEST_F(Sherl, S4GivesCopiesTheShareOfOne) {
  const std::vector<std::vector<double>> alone = {{1, 0, 0}, {0, 1, 0}, {0, 0, 2}};
  const SherlMerge once = merged(alone, {1, 2, 1}, {1, 1, 1});
  for (const int copies : {1, 3, 7}) {
    auto pool = alone;
    for (int i = 0; i < copies; ++i) pool.push_back(alone[1]);
    const SherlMerge found = merged(pool, {1, 2, 1}, {1, 1, 1});
    const double share = found.weights[1].item<double>() + found.weights.slice(0, 3).sum().item<double>();
    EXPECT_NEAR(share, once.weights[1].item<double>(), 1e-5);
    EXPECT_TRUE(torch::allclose(found.merged, once.merged, 0, 1e-5));
  }
  // With a positive cosine to another the others lose too: no more than so many single shares.
  const std::vector<std::vector<double>> alike = {{1, 0, 0}, {1, 1, 0}, {0, 0, 2}};
  auto pool = alike;
  pool.insert(pool.end(), 2, alike[1]);
  const double single = merged(alike, {1, 1, 1}, {1, 1, 1}).weights[1].item<double>();
  const auto weights = merged(pool, {1, 1, 1}, {1, 1, 1}).weights;
  EXPECT_LE(weights[1].item<double>() + weights.slice(0, 3).sum().item<double>(), 3 * single);
}

TEST_F(Sherl, S5GivesSharesOfOneOrNone) {
  torch::manual_seed(1);
  const auto pool = torch::randn({30, 5, 7}, torch::kFloat64), guide = torch::randn({30, 7}, torch::kFloat64),
             score = torch::randn({7}, torch::kFloat64), bias = torch::full({}, -1.5, torch::kFloat64);
  const SherlMerge found = merge_pool(pool, guide, score, bias);
  EXPECT_GE(found.weights.min().item<double>(), 0);
  const auto sums = found.weights.sum(-1);
  const auto none = sums == 0;
  EXPECT_TRUE(none.any().item<bool>() && (~none).any().item<bool>());
  EXPECT_TRUE(torch::allclose(sums.masked_select(~none), torch::ones({1}, torch::kFloat64), 0, 1e-4));
  EXPECT_TRUE(torch::equal(found.merged.index({none}), guide.index({none})));
  const auto scaled = merge_pool(3.7 * pool, guide, score, bias).redundancy;
  EXPECT_TRUE(torch::allclose(scaled, found.redundancy, 0, 1e-5));
}

TEST_F(Sherl, S6OpensItsGateByATangent) {
  SherlAdapter adapter = some_adapter(model_);
  adapter.out.zero_();
  adapter.out_bias.zero_();
  const auto states = random_states(4);
  for (const auto& [gate, open] :
       {std::pair{0.0, 0.0}, std::pair{0.05, 0.462117}, std::pair{0.1, 0.761594}, std::pair{0.3, 0.995055}}) {
    adapter.gate.fill_(gate);
    EXPECT_TRUE(torch::allclose(sherl_output(adapter, states, states[3]), open * states[3], 1e-5, 1e-6)) << gate;
  }
}

TEST_F(Sherl, S7IsTheModelWhereItsGateIsOpenAndItsOutputZero) {
  const auto ids = torch::randint(256, {2, 9}, torch::kLong);
  SherlAdapter adapter = some_adapter(model_);
  adapter.out.zero_();
  adapter.out_bias.zero_();
  adapter.gate.fill_(INFINITY);
  EXPECT_TRUE(torch::equal(forward_logits(model_.routed(route_of(adapter, {})), ids), forward_logits(model_, ids)));
  // With a closed gate the late layers read nothing at all.
  adapter.gate.fill_(0);
  const auto states = random_states(4);
  EXPECT_EQ(sherl_output(adapter, states, states[3]).abs().max().item<double>(), 0);
}

TEST_F(Sherl, S8LooksAtEachTokenAlone) {
  const SherlAdapter adapter = some_adapter(model_);
  auto states = random_states(4);
  const auto before = sherl_output(adapter, states, states[3]);
  for (auto& state : states) {
    state = state.clone();
    state.select(1, 2).add_(1);
  }
  const auto changed = (sherl_output(adapter, states, states[3]) - before).abs().sum({0, 2});
  for (std::int64_t t = 0; t < 5; ++t) EXPECT_EQ(changed[t].item<double>() > 0, t == 2) << t;
}

// Token by token through the cache, as text is written, is the same as all at once; to the bit where products of one
// row were those of many, which libraries do not promise: to the rounding of each type.
TEST_F(Sherl, S8WritesAsItReads) {
  const auto ids = torch::randint(256, {1, 8}, torch::kLong);
  for (const auto& [type, tolerance] : {std::pair(torch::kFloat32, 1e-5), std::pair(torch::kFloat64, 1e-12)}) {
    SCOPED_TRACE(tolerance);
    const Model model = pico_model(test::tiny_llama(6), 1, {}, {torch::kCPU, type});
    const Model routed = model.routed(route_of(some_adapter(model, 2, type), {}));
    const auto whole = forward_logits(routed, ids);
    EXPECT_FALSE(torch::allclose(whole, forward_logits(model, ids), 1e-2, 1e-2));
    const PhasedModel phased(routed);
    Decoder decoder(phased);
    EXPECT_TRUE(torch::allclose(decoder.read(ids.narrow(1, 0, 3))[0][0], whole[0][2], 10 * tolerance, tolerance));
    for (std::int64_t t = 3; t < 8; ++t)
      EXPECT_TRUE(torch::allclose(decoder.read(ids.narrow(1, t, 1))[0][0], whole[0][t], 10 * tolerance, tolerance))
          << t;
  }
}

TEST_F(Sherl, S9HasTheGradientsOfDifferences) {
  SherlAdapter adapter = some_adapter(model_, 2, torch::kFloat64);
  adapter.gate.fill_(0.07);
  const auto states = random_states(4, torch::kFloat64);
  const auto target = torch::randn({2, 5, 64}, torch::kFloat64);
  const auto loss = [&] { return (sherl_output(adapter, states, states[3]) * target).sum(); };
  for (torch::Tensor* tensor : adapter.tensors()) tensor->requires_grad_(true);
  loss().backward();
  const torch::NoGradGuard no_gradients;
  for (torch::Tensor* tensor : adapter.tensors()) {
    auto flat = tensor->view({-1});
    const auto gradient = tensor->grad().view({-1});
    for (std::int64_t i = 0; i < flat.numel(); i += std::max<std::int64_t>(1, flat.numel() / 5)) {
      const double value = flat[i].item<double>(), h = 1e-6;
      flat[i] = value + h;
      const double above = loss().item<double>();
      flat[i] = value - h;
      const double below = loss().item<double>();
      flat[i] = value;
      const double expected = (above - below) / (2 * h);
      EXPECT_NEAR(gradient[i].item<double>(), expected, 1e-5 * std::max(1.0, std::abs(expected)));
    }
  }
  for (const torch::Tensor& state : states) EXPECT_FALSE(state.grad().defined());
}

// Layers that are brought into another type are kept, so that these are the very tensors that steps compute with.
TEST_F(Sherl, S9GivesFrozenTensorsNoGradient) {
  const Model model = pico_model(test::tiny_llama(6), 1, {}, {torch::kCPU, torch::kBFloat16});
  std::vector<LayerWeights> layers;
  for (std::int64_t i = 0; i < 6; ++i) layers.push_back(model.layer(i));
  SherlTuningOptions options{.sherl = {.late = 2, .features = 4}};
  options.heal.batch_tokens = 64;
  const SherlTuned tuned = tune_sherl(model, test::random_tokens(4, 32, 2), test::random_tokens(2, 32, 3), options);
  ASSERT_EQ(tuned.result.last().steps.size(), 2U);
  EXPECT_GT(tuned.result.last().steps.front().gradient_norm, 0);
  for (std::int64_t i = 0; i < 6; ++i) {
    const LayerWeights& frozen = layers[static_cast<std::size_t>(i)];
    EXPECT_EQ(frozen.at(Role::up).weight.data_ptr(), model.layer(i).at(Role::up).weight.data_ptr()) << i;
    for (const torch::Tensor& tensor : frozen.all()) EXPECT_FALSE(tensor.requires_grad() || tensor.grad().defined());
  }
}

// Training with twice as many early layers holds no more at its peak; adapters in all layers do.
TEST_F(Sherl, S9HoldsNoMoreForMoreEarlyLayers) {
  const auto training = test::random_tokens(8, 64, 2), validation = test::random_tokens(2, 64, 3);
  const auto peak = [&](std::int64_t layers) {
    const Model model = pico_model(test::tiny_llama(layers), 1);
    SherlTuningOptions options{.sherl = {.late = 1, .features = 4}};
    options.heal.batch_tokens = 256;
    return test::peak_of([&] { tune_sherl(model, training, validation, options); });
  };
  const std::int64_t few = peak(5), many = peak(10);
  EXPECT_GT(few, 0);
  EXPECT_LT(static_cast<double>(many), 1.02 * static_cast<double>(few));
}

TEST_F(Sherl, S10HasAsManyParametersAsTheFormulaSays) {
  const auto parameters = [](std::int64_t hidden, std::int64_t width, std::int64_t features) {
    SherlAdapter adapter;
    const auto none = [](std::vector<std::int64_t> shape) {
      return torch::empty(shape, torch::TensorOptions().device(torch::kMeta));
    };
    for (std::int64_t i = 0; i < features; ++i)
      adapter.reducers.push_back({none({width, hidden}), none({width}), none({width, width}), none({width}),
                                  none({width, width}), none({width})});
    adapter.score = none({width});
    adapter.score_bias = none({});
    adapter.out = none({hidden, width});
    adapter.out_bias = none({hidden});
    adapter.gate = none({});
    return adapter.parameters();
  };
  EXPECT_EQ(parameters(768, 192, 10), 2366018);
  EXPECT_EQ(parameters(768, 192, 9), 2144258);
  EXPECT_EQ(parameters(768, 96, 10), 999074);
  EXPECT_EQ(parameters(768, 96, 9), 906626);
  EXPECT_EQ(parameters(4096, 256, 9), 11676674);
  EXPECT_EQ(parameters(4096, 128, 9), 5545474);
  // What is made has the shapes that were counted: n (d h + 3 h + 2 h²) + h + 1 + h d + d + 1.
  Rng rng(1);
  const std::int64_t d = 64, h = 4, n = 4;
  EXPECT_EQ(initial_sherl(model_, {.late = 2, .features = n}, rng).parameters(),
            n * (d * h + 3 * h + 2 * h * h) + h + 1 + h * d + d + 1);
}

TEST_F(Sherl, S11StartsAsTheModelThatWasCut) {
  const Model cut = model_.view(drop_layers(6, {3, 4}), {});
  EvaluationText text;
  text.source = "text";
  for (const auto& ids : test::random_tokens(8, 32, 9).sequences)
    text.ids.insert(text.ids.end(), ids.begin(), ids.end());
  Rng rng(2);
  const Model routed = cut.routed(route_of(initial_sherl(cut, {.late = 1, .features = 3}, rng), {}));
  const PerplexityOptions options{.window = 32};
  EXPECT_NEAR(perplexity(routed, text, options, {}).value, perplexity(cut, text, options, {}).value, 1e-4);
}

TEST_F(Sherl, LearnsWithoutTouchingTheModel) {
  const auto training = test::random_tokens(12, 32, 2), validation = test::random_tokens(2, 32, 3);
  SherlTuningOptions options{.sherl = {.late = 2, .features = 4}};
  options.heal.epochs = 12;
  options.heal.batch_tokens = 64;
  options.heal.validate_every = 12;
  options.heal.learning_rate = 1e-2;
  const auto before = transformed(model_.layer(5), [](const torch::Tensor& tensor) { return tensor.clone(); });
  // Judged on what it was trained on: that it can learn is what is asked.
  const SherlTuned tuned = tune_sherl(model_, training, training, options);
  EXPECT_NEAR(tuned.result.last().initial, tuned.result.last().nothing, 1e-5);
  EXPECT_LT(tuned.result.last().best, 0.97 * tuned.result.last().nothing);
  EXPECT_TRUE(test::same(before, model_.layer(5)));
  EXPECT_EQ(tuned.adapter.at, 4);
}

TEST_F(Sherl, ErrorsOfStatesHaveTheGradientsOfDifferences) {
  auto states = random_states(2, torch::kFloat64);
  const auto &prediction = states[0], &target = states[1];
  // One token that points the same way, twice as long: an error of 1, an angle of 0.
  const auto doubled = state_error(Loss::state, 2 * target, target, /*skip_first_position=*/false, /*gradient=*/false);
  EXPECT_NEAR(doubled.sum, 10, 1e-9);
  EXPECT_NEAR(state_error(Loss::state, -target, target, false, false).sum, 10 * (4 + 2), 1e-9);
  for (const bool skip : {false, true}) {
    const auto gradient = state_error(Loss::state, prediction, target, skip, /*gradient=*/true).gradient;
    for (const std::int64_t i : {0, 70, 300, 639}) {
      const auto sum_with = [&](double change) {
        auto moved = prediction.clone();
        moved.view({-1})[i] += change;
        return state_error(Loss::state, moved, target, skip, false).sum;
      };
      const double expected = (sum_with(1e-5) - sum_with(-1e-5)) / 2e-5;
      EXPECT_NEAR(gradient.reshape({-1})[i].item<double>(), expected, 1e-7) << i << skip;
    }
  }
}

// Aimed at what the layers that went would have written, it comes nearer to that than the stream is.
TEST_F(Sherl, LearnsWhatRemovedLayersWouldHaveWritten) {
  const Model cut = model_.view(drop_layers(6, {3, 4}), {});
  const auto training = test::random_tokens(12, 32, 2);
  SherlTuningOptions options{.sherl = {.late = 1, .features = 4, .reduction = 4}};
  options.heal.epochs = 12;
  options.heal.batch_tokens = 64;
  options.heal.validate_every = 12;
  options.heal.learning_rate = 1e-2;
  options.original = &model_;
  options.removed = removed_before(cut, model_, 3);
  EXPECT_EQ(options.removed.first, 3);
  EXPECT_EQ(options.removed.count, 2);
  const SherlTuned tuned = tune_sherl(cut, training, training, options);
  const HealStage& stage = tuned.result.last();
  EXPECT_EQ(stage.loss, Loss::state);
  EXPECT_NEAR(stage.initial, stage.nothing, 1e-5 * stage.nothing);
  EXPECT_LT(stage.best, 0.9 * stage.nothing);
  // The error of nothing is that of the states before and after these layers.
  const auto ids = to_tensor(training, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, torch::kCPU);
  const auto positions = rope_positions(model_.config(), 0, 32, torch::kCPU);
  auto stream = model_.embed(ids);
  std::vector<torch::Tensor> states = {stream};
  for (std::int64_t layer = 0; layer < 5; ++layer)
    states.push_back(stream = block_forward(model_.config(), model_.layer(layer), stream, positions));
  EXPECT_NEAR(state_error(Loss::state, states[3], states[5], false, false).sum / (12 * 32), stage.nothing,
              1e-4 * stage.nothing);
}

TEST_F(Sherl, FindsTheLayersThatWentOrSaysWhy) {
  const Model cut = model_.view(drop_layers(6, {2, 3}), {});
  EXPECT_ERROR(removed_before(cut, model_, 1), mismatch, "layer 1 of pico is not layer 3 of pico");
  EXPECT_ERROR(removed_before(model_, model_, 2), mismatch, "as many or more");
  EXPECT_ERROR(layers_behind_cut(cut), usage, "give --late");
  Json wide = test::tiny_llama(6);
  wide["vocab_size"] = 128;
  EXPECT_ERROR(removed_before(cut, pico_model(wide, 1), 2), mismatch, "a vocabulary of 128");
}

TEST_F(Sherl, IsReadBackBesideItsModelOnly) {
  const test::TemporaryDirectory folder;
  const auto file = folder.path() / "sherl.safetensors";
  SherlAdapter adapter = some_adapter(model_);
  write_sherl(adapter, model_, file);
  SherlAdapter read = read_sherl(file, model_);
  EXPECT_EQ(read.features, adapter.features);
  const auto ours = adapter.tensors(), theirs = read.tensors();
  for (std::size_t i = 0; i < ours.size(); ++i) EXPECT_TRUE(torch::equal(*ours[i], *theirs[i])) << i;
  EXPECT_ERROR(read_sherl(file, pico_model(test::tiny_llama(6), 2)), mismatch, "belongs to other weights");
  const std::string whole = read_text(file);
  write_text(file, whole.substr(0, whole.size() - 9));
  EXPECT_ERROR(read_sherl(file, model_), format, "sherl.safetensors");
}

TEST_F(Sherl, RefusesWhatCannotBe) {
  Rng rng(1);
  EXPECT_ERROR(initial_sherl(model_, {.late = 6}, rng), usage, "--late 6");
  EXPECT_ERROR(initial_sherl(model_, {.late = 2, .features = 9}, rng), usage, "--features 9: 2 to 5");
  EXPECT_ERROR(initial_sherl(model_, {.late = 2, .features = 2, .reduction = 65}, rng), usage, "--reduction 65");
  const Model routed = model_.routed(route_of(some_adapter(model_), {}));
  EXPECT_ERROR(routed.view(drop_layers(6, {1}), {}), unsupported, "SHERL");
}

TEST(SherlFeatures, AreSpreadOverTheDepth) {
  EXPECT_EQ(spread_features(29, 8), (std::vector<std::int64_t>{0, 4, 8, 12, 17, 21, 25, 29}));
  EXPECT_EQ(spread_features(4, 5), (std::vector<std::int64_t>{0, 1, 2, 3, 4}));
}

}  // namespace
}  // namespace streamline
