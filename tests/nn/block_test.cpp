// SPDX-License-Identifier: Apache-2.0
// One layer in every shape that a family or a replacement may give it, against plain float64 loops.
#include "streamline/nn/block.h"

#include <torch/autograd.h>

#include <functional>

#include "support/core/expect.h"
#include "support/torch/layers.h"
#include "support/torch/pico.h"
#include "support/torch/reference.h"

namespace streamline {
namespace {

using namespace test;

constexpr double kFloat64 = 1e-7;   // the rotary tables are fp32
constexpr double kBfloat16 = 3e-2;  // eight bits of mantissa in every intermediate
// Rounding turns the choice of an expert now and then, and with it a token: the root of the mean square instead.
constexpr double kBfloat16Experts = 6e-2;

struct Shape {
  std::string name;
  Traits traits = {};
  std::function<void(Config&, LayerConfig&)> change = [](Config&, LayerConfig&) {};
};

const std::vector<Shape>& shapes() {
  static const std::vector<Shape> all = {
      {.name = "GroupedQueries"},
      {.name = "OneKeyPerQuery", .change = [](Config&, LayerConfig& layer) { layer.attention->kv_heads = 4; }},
      {.name = "Window", .change = [](Config&, LayerConfig& layer) { layer.attention->window = 5; }},
      {.name = "WindowOfOne", .change = [](Config&, LayerConfig& layer) { layer.attention->window = 1; }},
      {.name = "WindowLongerThanTheSequence",
       .change = [](Config&, LayerConfig& layer) { layer.attention->window = 100; }},
      {.name = "QkNorm", .change = [](Config&, LayerConfig& layer) { layer.attention->qk_norm = QkNorm::head; }},
      {.name = "WideHeads", .change = [](Config&, LayerConfig& layer) { layer.attention->head_dim = 12; }},
      {.name = "Biases",
       .change =
           [](Config&, LayerConfig& layer) {
             layer.attention->qkv_bias = layer.attention->o_bias = true;
             layer.mlp->bias = true;
           }},
      {.name = "Linear",
       .change = [](Config& config, LayerConfig&) { config.rope = {.scaling = RopeScaling::linear, .factor = 4}; }},
      {.name = "Dynamic",
       .change =
           [](Config& config, LayerConfig&) {
             config.rope = {.scaling = RopeScaling::dynamic, .factor = 2};
             config.max_positions = 8;
           }},
      {.name = "Llama3",
       .change =
           [](Config& config, LayerConfig&) {
             config.rope = {.theta = 1000,
                            .scaling = RopeScaling::llama3,
                            .factor = 8,
                            .low_frequency_factor = 1,
                            .high_frequency_factor = 4,
                            .original_max_positions = 64};
           }},
      {.name = "LearnedPositions", .traits = {.position = Position::learned}},
      {.name = "LayerNorm",
       .traits = {.norm = Norm::layer, .position = Position::learned},
       .change =
           [](Config&, LayerConfig& layer) {
             layer.mlp->gated = false;
             layer.mlp->activation = Activation::relu;
           }},
      {.name = "GeluGate", .change = [](Config&, LayerConfig& layer) { layer.mlp->activation = Activation::gelu; }},
      {.name = "TanhGeluGate",
       .change = [](Config&, LayerConfig& layer) { layer.mlp->activation = Activation::gelu_tanh; }},
      {.name = "AttentionOnly", .change = [](Config&, LayerConfig& layer) { layer.mlp.reset(); }},
      {.name = "MlpOnly", .change = [](Config&, LayerConfig& layer) { layer.attention.reset(); }},
      {.name = "Nothing",
       .change =
           [](Config&, LayerConfig& layer) {
             layer.attention.reset();
             layer.mlp.reset();
           }},
      {.name = "PaperFeedForward",
       .change =
           [](Config&, LayerConfig& layer) {
             layer.attention.reset();
             layer.mlp = MlpConfig{.intermediate = 128,
                                   .gated = false,
                                   .activation = Activation::relu,
                                   .norm = false,
                                   .residual = false,
                                   .bias = true};
           }},
      {.name = "ResidualWithoutNorm",
       .change =
           [](Config&, LayerConfig& layer) {
             layer.mlp->norm = false;
             layer.mlp->bias = true;
           }},
      {.name = "NormWithOffset",
       .traits = {.norm_offset = 1},
       .change = [](Config&, LayerConfig& layer) { layer.attention->qk_norm = QkNorm::head; }},
      {.name = "NormsBeforeAndAfter",
       .traits = {.norm_offset = 1},
       .change = [](Config&, LayerConfig& layer) { layer.attention->post_norm = layer.mlp->post_norm = true; }},
      {.name = "NormsAfterOnly",
       .change =
           [](Config&, LayerConfig& layer) {
             layer.attention->norm = layer.mlp->norm = false;
             layer.attention->post_norm = layer.mlp->post_norm = true;
           }},
      {.name = "Parallel", .change = [](Config&, LayerConfig& layer) { layer.residual = Residual::parallel; }},
      {.name = "ParallelWithOneNorm",
       .traits = {.norm = Norm::layer, .norm_bias = false},
       .change =
           [](Config&, LayerConfig& layer) {
             layer.residual = Residual::parallel;
             layer.mlp->norm = false;
             layer.mlp->shared_norm = true;
           }},
      {.name = "NormAfterSum",
       .traits = {.norm = Norm::layer},
       .change = [](Config&, LayerConfig& layer) { layer.residual = Residual::norm_after_sum; }},
      {.name = "ResidualMultiplier",
       .change =
           [](Config& config, LayerConfig& layer) {
             config.scale.residual = 0.25;
             layer.attention->o_bias = layer.mlp->bias = true;
           }},
      {.name = "NeighboursRotate", .traits = {.neighbours_rotate = true}},
      {.name = "HalfOfEachHeadRotates",
       .change = [](Config& config, LayerConfig&) { config.rope.rotated_share = 0.5; }},
      {.name = "NeighboursOfAHalfRotate",
       .traits = {.neighbours_rotate = true},
       .change = [](Config& config, LayerConfig&) { config.rope.rotated_share = 0.5; }},
      {.name = "NothingRotates", .change = [](Config&, LayerConfig& layer) { layer.attention->rope = RopeUse::none; }},
      {.name = "LocalRope",
       .change =
           [](Config& config, LayerConfig& layer) {
             config.local_rope = RopeConfig{.theta = 100};
             layer.attention->rope = RopeUse::local;
           }},
      {.name = "Yarn",
       .change =
           [](Config& config, LayerConfig&) {
             config.rope = {.theta = 1000,
                            .scaling = RopeScaling::yarn,
                            .factor = 4,
                            .original_max_positions = 64,
                            .attention_factor = 1.3};
           }},
      {.name = "LongRope",  // within the original length; the shape of the cache test would cross it
       .change =
           [](Config& config, LayerConfig&) {
             config.rope = {.scaling = RopeScaling::longrope,
                            .original_max_positions = 32,
                            .attention_factor = 1.2,
                            .short_factors = {1, 1.5, 2, 3},
                            .long_factors = {2, 4, 8, 16}};
           }},
      {.name = "NormOverAllHeads",
       .change = [](Config&, LayerConfig& layer) { layer.attention->qk_norm = QkNorm::whole; }},
      {.name = "ScoreScale", .change = [](Config&, LayerConfig& layer) { layer.attention->scale = 0.7; }},
      {.name = "ScoreCap",
       .change =
           [](Config&, LayerConfig& layer) {
             layer.attention->softcap = 1.5;
             layer.attention->scale = 0.7;
           }},
      {.name = "ScoreCapInAWindow",
       .change =
           [](Config&, LayerConfig& layer) {
             layer.attention->softcap = 1.5;
             layer.attention->window = 5;
           }},
      {.name = "StackedProjections",
       .change =
           [](Config&, LayerConfig& layer) {
             layer.attention->layout = QkvLayout::stacked;
             layer.attention->qkv_bias = true;
             layer.mlp->fused_gate = true;
           }},
      {.name = "GroupedProjections",
       .change =
           [](Config&, LayerConfig& layer) {
             layer.attention->layout = QkvLayout::grouped;
             layer.attention->qkv_bias = true;
           }},
      {.name = "GroupsOfOne",
       .change =
           [](Config&, LayerConfig& layer) {
             layer.attention->layout = QkvLayout::grouped;
             layer.attention->kv_heads = 4;
           }},
      {.name = "Experts",
       .change =
           [](Config&, LayerConfig& layer) {
             layer.mlp->intermediate = 20;
             layer.mlp->experts = ExpertsConfig{.count = 6, .active = 2, .renormalised = true};
           }},
      {.name = "ExpertsAndASharedOne",
       .change =
           [](Config&, LayerConfig& layer) {
             layer.mlp->intermediate = 20;
             layer.mlp->experts = ExpertsConfig{.count = 6, .active = 3, .shared = 24};
           }},
  };
  return all;
}

struct Layer {
  Config config;
  LayerWeights weights;
};

Layer make_layer(const Shape& shape, std::uint64_t seed = 3) {
  Layer layer{layer_test_config(shape.traits), {}};
  LayerConfig& config = layer.config.layers[0];
  shape.change(layer.config, config);
  layer.weights = random_layer(layer.config, config, seed);
  return layer;
}

torch::Tensor expected(const Layer& layer, const torch::Tensor& x) {
  std::vector<Matrix> batch;
  for (std::int64_t i = 0; i < x.size(0); ++i)
    batch.push_back(reference_layer(layer.config, layer.weights.config, reference_weights(layer.weights),
                                    to_matrix(x.select(0, i))));
  return to_torch(batch);
}

torch::Tensor run(const Layer& layer, const torch::Tensor& x) {
  return block_forward(layer.config, layer.weights, x, rope_positions(layer.config, 0, x.size(1), torch::kCPU));
}

class EveryShape : public testing::TestWithParam<Shape> {};
INSTANTIATE_TEST_SUITE_P(Block, EveryShape, testing::ValuesIn(shapes()),
                         [](const auto& info) { return info.param.name; });

TEST_P(EveryShape, EqualsTheReferenceInFloat32WithoutGradients) {
  const torch::NoGradGuard no_grad;
  const Layer layer = make_layer(GetParam());
  const auto x = random_tensor({2, 19, 32}, 11);
  EXPECT_LT(relative_difference(run(layer, x), expected(layer, x)), kFloat32);
}

TEST_P(EveryShape, EqualsTheReferenceInFloat32WithGradients) {
  Layer layer = make_layer(GetParam());
  for (auto& tensor : layer.weights.all()) tensor.requires_grad_();
  const auto x = random_tensor({2, 19, 32}, 11).requires_grad_();
  EXPECT_LT(relative_difference(run(layer, x), expected(layer, x)), kFloat32);
}

TEST_P(EveryShape, EqualsTheReferenceInFloat64) {
  Layer layer = make_layer(GetParam());
  layer.weights = copy_to(layer.weights, torch::kCPU, torch::kDouble);
  const auto x = random_tensor({1, 19, 32}, 11).to(torch::kDouble);
  EXPECT_LT(relative_difference(run(layer, x), expected(layer, x)), kFloat64);
}

TEST_P(EveryShape, EqualsTheReferenceInBfloat16) {
  const torch::NoGradGuard no_grad;
  Layer layer = make_layer(GetParam());
  layer.weights = copy_to(layer.weights, torch::kCPU, torch::kBFloat16);
  const auto x = random_tensor({2, 19, 32}, 11).to(torch::kBFloat16);
  const auto y = run(layer, x).to(torch::kDouble), reference = expected(layer, x);
  if (layer.weights.config.mlp && layer.weights.config.mlp->experts) {
    EXPECT_LT(((y - reference).norm() / reference.norm()).item<double>(), kBfloat16Experts);
  } else {
    EXPECT_LT(relative_difference(y, reference), kBfloat16);
  }
}

TEST_P(EveryShape, LeavesItsInputAndWeightsAlone) {
  const torch::NoGradGuard no_grad;
  const Layer layer = make_layer(GetParam());
  const LayerWeights before = copy_to(layer.weights, torch::kCPU, torch::kFloat);
  const auto x = random_tensor({2, 7, 32}, 11);
  const auto copy = x.clone();
  run(layer, x);
  EXPECT_TRUE(torch::equal(x, copy));
  for (std::size_t i = 0; i < before.all().size(); ++i)
    EXPECT_TRUE(torch::equal(before.all()[i], layer.weights.all()[i]));
}

// LLM-Streamline check 20: with and without gradients, and whatever the kernels.
TEST_P(EveryShape, SeesNoLaterToken) {
  const Layer layer = make_layer(GetParam());
  const auto x = random_tensor({1, 19, 32}, 11);
  auto changed = x.clone();
  changed.narrow(1, 12, 1).add_(1);
  for (const bool gradients : {false, true}) {
    const torch::AutoGradMode mode(gradients);
    const auto a = run(layer, x.clone().set_requires_grad(gradients));
    const auto b = run(layer, changed.clone().set_requires_grad(gradients));
    EXPECT_TRUE(torch::equal(a.narrow(1, 0, 12), b.narrow(1, 0, 12)));
    if (GetParam().name != "Nothing") {
      EXPECT_FALSE(torch::equal(a.narrow(1, 12, 1), b.narrow(1, 12, 1)));
    }
  }
}

TEST_P(EveryShape, DecodesWithACacheAsItReadsTheWhole) {
  if (GetParam().name == "Dynamic") GTEST_SKIP() << "the base of dynamic scaling depends on the length read so far";
  const torch::NoGradGuard no_grad;
  const Layer layer = make_layer(GetParam());
  const auto x = random_tensor({2, 19, 32}, 11);
  LayerCache cache;
  std::vector<torch::Tensor> parts;
  std::int64_t first = 0;
  for (const std::int64_t count : {7, 1, 1, 6, 1, 3}) {  // a prompt, single tokens, and several at a time
    const Positions positions = rope_positions(layer.config, first, count, torch::kCPU);
    parts.push_back(block_forward(layer.config, layer.weights, x.narrow(1, first, count), positions, &cache));
    first += count;
  }
  EXPECT_LT(relative_difference(torch::cat(parts, 1), run(layer, x)), kFloat32);
}

TEST_P(EveryShape, HasTheGradientOfItsDifferences) {
  if (GetParam().name == "Nothing") GTEST_SKIP() << "no weights";
  Layer layer = make_layer(GetParam());
  layer.weights = copy_to(layer.weights, torch::kCPU, torch::kDouble);
  const auto x = random_tensor({1, 6, 32}, 11).to(torch::kDouble);
  const auto target = random_tensor({1, 6, 32}, 12).to(torch::kDouble);
  const auto loss = [&] { return (run(layer, x) - target).square().mean(); };
  for (const PlacedTensor& placed : placed_tensors(layer.weights)) {
    torch::Tensor& tensor = place(layer.weights, placed.role, placed.part, placed.expert);
    tensor.requires_grad_();
    const auto value = loss();
    auto gradient = torch::zeros_like(tensor);  // of an expert that no token chose
    if (value.requires_grad()) gradient = torch::autograd::grad({value}, {tensor})[0];
    tensor.requires_grad_(false);
    const auto direction = random_tensor(tensor.sizes().vec(), 13).to(torch::kDouble);
    constexpr double kStep = 1e-5;
    tensor.add_(direction, kStep);
    const double above = loss().item<double>();
    tensor.add_(direction, -2 * kStep);
    const double below = loss().item<double>();
    tensor.add_(direction, kStep);
    const double numeric = (above - below) / (2 * kStep), analytic = (gradient * direction).sum().item<double>();
    // Relative to the gradient's own length: a key's bias has no gradient at all, as softmax does not see it.
    const double scale = gradient.norm().item<double>() * direction.norm().item<double>();
    EXPECT_NEAR(numeric, analytic, 1e-5 * scale + 1e-9) << role_name(placed.role);
  }
}

TEST_P(EveryShape, IsTheSumOfItsHalves) {
  const LayerConfig shape = make_layer(GetParam()).weights.config;
  if (shape.residual == Residual::norm_after_sum) GTEST_SKIP() << "its halves replace the stream";
  if (!shape.attention || !shape.mlp || !shape.mlp->residual) GTEST_SKIP() << "a half is missing";
  const torch::NoGradGuard no_grad;
  const Layer layer = make_layer(GetParam());
  const auto x = random_tensor({2, 9, 32}, 11);
  const Positions positions = rope_positions(layer.config, 0, 9, torch::kCPU);
  const auto middle = x + attention_half(layer.config, layer.weights, x, positions);
  const auto& read = shape.residual == Residual::parallel ? x : middle;
  EXPECT_LT(relative_difference(run(layer, x), middle + mlp_half(layer.config, layer.weights, read)), kFloat32);
}

// LLM-Streamline check 1: zero output projections make the identity, to the bit.
TEST(Block, IsTheIdentityWhenItsOutputProjectionsAreZero) {
  const torch::NoGradGuard no_grad;
  for (const auto type : {torch::kFloat, torch::kBFloat16}) {
    Layer layer = make_layer(shapes()[0]);
    layer.weights.tensors[Role::o].weight.zero_();
    layer.weights.tensors[Role::down].weight.zero_();
    layer.weights = copy_to(layer.weights, torch::kCPU, type);
    const auto x = random_tensor({2, 9, 32}, 11).to(type);
    EXPECT_TRUE(torch::equal(run(layer, x), x));
  }
}

TEST(LayerWeights, NamesTheRoleThatIsMissing) { EXPECT_ERROR(LayerWeights{}.at(Role::q_norm), internal, "q_norm"); }

TEST(LayerWeights, AreCopiedAndNotShared) {
  const Layer layer = make_layer(shapes()[0]);
  LayerWeights copy = copy_to(layer.weights, torch::kCPU, torch::kFloat);
  copy.tensors[Role::q].weight.zero_();
  EXPECT_GT(layer.weights.at(Role::q).weight.abs().max().item<float>(), 0);
  EXPECT_EQ(copy.all().size(), layer.weights.all().size());
}

}  // namespace
}  // namespace streamline
