// SPDX-License-Identifier: Apache-2.0
// The fused kernels' gradients against libtorch's of the tensor expressions, which float64 takes.
#include "streamline/nn/kernel_gradients.h"

#include <torch/autograd.h>

#include <functional>

#include "streamline/nn/kernels.h"
#include "streamline/nn/norms.h"
#include "streamline/nn/rope.h"
#include "support/core/expect.h"
#include "support/torch/layers.h"
#include "support/torch/pico.h"

namespace streamline {
namespace {

using test::random_tensor;
using Tensors = std::vector<torch::Tensor>;
using Expression = std::function<torch::Tensor(const Tensors&)>;

struct GradientPrecision {
  torch::ScalarType type;
  double relative;
};
// Sums of some hundred products in fp32; one rounding to eight bits.
const std::vector<GradientPrecision> kGradientPrecisions = {{torch::kFloat, 1e-5}, {torch::kBFloat16, 1.0 / 256}};
constexpr double kFloor = 1e-5;  // where terms of about 1 cancel

Tensors gradients_of(const Expression& expression, const Tensors& inputs, const torch::Tensor& gradient) {
  Tensors leaves;
  for (const torch::Tensor& input : inputs) leaves.push_back(input.detach().clone().requires_grad_());
  return torch::autograd::grad({expression(leaves)}, leaves, {gradient});
}

Tensors converted(const Tensors& tensors, torch::ScalarType type) {
  Tensors result;
  for (const torch::Tensor& tensor : tensors) result.push_back(tensor.to(type));
  return result;
}

// Value and gradients of `fused` in fp32 and bf16 against those of `expression` in fp64, on the same numbers.
void expect_gradients(const Expression& fused, const Expression& expression, const Tensors& inputs) {
  for (const GradientPrecision& c : kGradientPrecisions) {
    const Tensors narrow = converted(inputs, c.type), wide = converted(narrow, torch::kDouble);
    const auto value = expression(wide);
    EXPECT_TRUE(torch::allclose(fused(narrow).to(torch::kDouble), value, c.relative, kFloor));
    const auto gradient = random_tensor(value.sizes().vec(), 9).to(c.type);
    const Tensors got = gradients_of(fused, narrow, gradient);
    const Tensors expected = gradients_of(expression, wide, gradient.to(torch::kDouble));
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      EXPECT_EQ(got[i].scalar_type(), c.type);
      EXPECT_TRUE(torch::allclose(got[i].to(torch::kDouble), expected[i], c.relative, kFloor))
          << "input " << i << " " << inputs[i].sizes() << ": "
          << (got[i].to(torch::kDouble) - expected[i]).abs().max().item<double>();
    }
  }
}

TEST(KernelGradients, OfRmsNormAreThoseOfItsExpression) {
  for (const double offset : {0.0, 1.0})
    for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{
             {3, 5, 7}, {3, 5, 32}, {3, 5, 33}, {2, 3, 576}, {1, 33}, {1, 1}, {70, 1025}}) {
      const Expression fused = [&](const Tensors& t) { return kernels::recorded_rms_norm(t[0], t[1], 1e-2, offset); };
      const Expression expression = [&](const Tensors& t) { return rms_norm(t[0], t[1], 1e-2, offset); };
      expect_gradients(fused, expression, {random_tensor(shape, 1, 2), random_tensor({shape.back()}, 2)});
    }
}

TEST(KernelGradients, OfAnEmptyBatchAreZeros) {
  const auto norm = [](const Tensors& t) { return kernels::recorded_rms_norm(t[0], t[1], 1e-2); };
  const Tensors normed = gradients_of(norm, {torch::zeros({0, 5, 33}), torch::ones({33})}, torch::zeros({0, 5, 33}));
  EXPECT_EQ(normed[0].sizes(), (torch::IntArrayRef{0, 5, 33}));
  EXPECT_TRUE(torch::equal(normed[1], torch::zeros({33})));
  const auto gate = [](const Tensors& t) { return kernels::recorded_silu_product(t[0], t[1]); };
  const Tensors gated = gradients_of(gate, {torch::zeros({0, 7}), torch::zeros({0, 7})}, torch::zeros({0, 7}));
  EXPECT_EQ(gated[0].sizes(), (torch::IntArrayRef{0, 7}));
  EXPECT_EQ(gated[1].sizes(), (torch::IntArrayRef{0, 7}));
}

TEST(KernelGradients, OfTheGateAreThoseOfItsExpression) {
  for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{{3, 1001}, {1, 1}, {2, 3, 32}})
    expect_gradients([](const Tensors& t) { return kernels::recorded_silu_product(t[0], t[1]); },
                     [](const Tensors& t) { return torch::silu(t[0]) * t[1]; },
                     {random_tensor(shape, 1, 4), random_tensor(shape, 2)});
}

TEST(KernelGradients, OfGatesFarFromZeroAreFinite) {
  const auto gate = torch::tensor({-1e4f, -100.0f, 0.0f, 100.0f, 1e4f}), up = torch::full({5}, 2.0f);
  const Tensors got = gradients_of([](const Tensors& t) { return kernels::recorded_silu_product(t[0], t[1]); },
                                   {gate, up}, torch::ones({5}));
  EXPECT_TRUE(torch::allclose(got[0], torch::tensor({0.0f, 0.0f, 1.0f, 2.0f, 2.0f})));
  EXPECT_TRUE(torch::allclose(got[1], torch::tensor({0.0f, 0.0f, 0.0f, 100.0f, 1e4f})));
}

TEST(KernelGradients, OfRotationAreThoseOfItsExpression) {
  const Positions positions = rope_positions(test::layer_test_config(), 3, 11, torch::kCPU);
  const Expression fused = [&](const Tensors& t) {
    return kernels::recorded_rotation(t[0], positions.global.cos, positions.global.sin);
  };
  const Expression expression = [&](const Tensors& t) { return rotate(t[0], positions.global); };
  expect_gradients(fused, expression, {random_tensor({2, 11, 4, 8}, 1)});
  expect_gradients(fused, expression, {random_tensor({1, 11, 3, 13}, 1)});  // five components pass
}

// What comes back from attention has heads before positions, and that of a sum has no strides at all.
TEST(KernelGradients, TakeGradientsOfAnyStrides) {
  const Positions positions = rope_positions(test::layer_test_config(), 0, 11, torch::kCPU);
  const auto x = random_tensor({2, 11, 4, 8}, 1), gradient = random_tensor({2, 4, 11, 8}, 2).transpose(1, 2);
  const auto weight = random_tensor({8}, 3), one = torch::ones({}).expand({2, 11, 4, 8});
  const Expression turned = [&](const Tensors& t) {
    return kernels::recorded_rotation(t[0], positions.global.cos, positions.global.sin);
  };
  const Expression normed = [](const Tensors& t) { return kernels::recorded_rms_norm(t[0], t[1], 1e-2); };
  const Expression gated = [](const Tensors& t) { return kernels::recorded_silu_product(t[0], t[0]); };
  for (const torch::Tensor& back : {gradient, one}) {
    EXPECT_TRUE(torch::equal(gradients_of(turned, {x}, back)[0], gradients_of(turned, {x}, back.contiguous())[0]));
    EXPECT_TRUE(torch::equal(gradients_of(gated, {x}, back)[0], gradients_of(gated, {x}, back.contiguous())[0]));
    const Tensors got = gradients_of(normed, {x, weight}, back);
    const Tensors expected = gradients_of(normed, {x, weight}, back.contiguous());
    EXPECT_TRUE(torch::equal(got[0], expected[0]));
    EXPECT_TRUE(torch::equal(got[1], expected[1]));
  }
}

TEST(KernelGradients, AreOfThoseThatWantOne) {
  const auto x = random_tensor({3, 33}, 1), weight = random_tensor({33}, 2), gradient = random_tensor({3, 33}, 3);
  const auto norm = [](const Tensors& t) { return kernels::recorded_rms_norm(t[0], t[1], 1e-2); };
  const Tensors both = gradients_of(norm, {x, weight}, gradient);
  const Tensors of_x = gradients_of([&](const Tensors& t) { return norm({t[0], weight}); }, {x}, gradient);
  const Tensors of_weight = gradients_of([&](const Tensors& t) { return norm({x, t[0]}); }, {weight}, gradient);
  EXPECT_TRUE(torch::equal(of_x[0], both[0]));
  EXPECT_TRUE(torch::equal(of_weight[0], both[1]));
}

// In fp32, whose central differences of a step of 1/64 are good to some thousandths.
TEST(KernelGradients, AreThoseOfDifferences) {
  const Positions positions = rope_positions(test::layer_test_config(), 3, 5, torch::kCPU);
  const Expression all = [&](const Tensors& t) {
    const auto normed = kernels::recorded_rms_norm(t[0], t[1], 1e-2);
    return kernels::recorded_rotation(kernels::recorded_silu_product(normed, t[2]), positions.global.cos,
                                      positions.global.sin);
  };
  const Tensors inputs = {random_tensor({2, 5, 3, 9}, 1), random_tensor({9}, 2), random_tensor({2, 5, 3, 9}, 3)};
  const auto gradient = random_tensor({2, 5, 3, 9}, 4);
  const Tensors analytic = gradients_of(all, inputs, gradient);
  const auto loss = [&](const Tensors& t) { return (all(t) * gradient).sum(torch::kDouble).item<double>(); };
  constexpr double kStep = 1.0 / 64, kTolerance = 5e-3;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const auto direction = random_tensor(inputs[i].sizes().vec(), 5 + i);
    Tensors above = inputs, below = inputs;
    above[i] = inputs[i] + kStep * direction;
    below[i] = inputs[i] - kStep * direction;
    const double numeric = (loss(above) - loss(below)) / (2 * kStep);
    const double scale = (analytic[i].norm() * direction.norm()).item<double>();
    EXPECT_GT(scale, 1);
    EXPECT_NEAR(numeric, (analytic[i] * direction).sum().item<double>(), kTolerance * scale) << "input " << i;
  }
}

// Also where another path leads to the same tensor, so that a part of the sum would be missing.
TEST(KernelGradients, RefuseSecondDerivatives) {
  const Positions positions = rope_positions(test::layer_test_config(), 3, 5, torch::kCPU);
  const std::vector<Expression> kernels = {
      [](const Tensors& t) { return kernels::recorded_rms_norm(t[0], t[1], 1e-2); },
      [](const Tensors& t) { return kernels::recorded_silu_product(t[0], t[0]); },
      [&](const Tensors& t) { return kernels::recorded_rotation(t[0], positions.global.cos, positions.global.sin); },
  };
  for (const Expression& kernel : kernels) {
    auto x = random_tensor({2, 5, 3, 9}, 1).requires_grad_();
    const auto loss = (kernel({x, random_tensor({9}, 2)}).square() + x.square()).sum();
    const auto first = torch::autograd::grad({loss}, {x}, {}, /*retain_graph=*/true, /*create_graph=*/true)[0];
    EXPECT_TRUE(torch::equal(first, torch::autograd::grad({loss}, {x}, {}, /*retain_graph=*/true)[0]));
    EXPECT_ERROR(torch::autograd::grad({first.sum()}, {x}), unsupported, "no second derivatives");
  }
}

// What layer-wise recomputation rests on: forward without gradients, then again with them.
TEST(KernelGradients, ComeWithTheValuesThatAreThereWithoutThem) {
  const auto x = random_tensor({3, 33}, 1), weight = random_tensor({33}, 2);
  auto leaf = x.clone().requires_grad_();
  EXPECT_TRUE(torch::equal(rms_norm(leaf, weight, 1e-2), rms_norm(x, weight, 1e-2)));
  EXPECT_TRUE(rms_norm(leaf, weight, 1e-2).requires_grad());
}

Tensors layer_gradients(const Config& config, LayerWeights weights, torch::Tensor x, torch::ScalarType type) {
  weights = copy_to(weights, torch::kCPU, type);
  Tensors leaves = {x.to(type).requires_grad_()};
  for (const PlacedTensor& placed : placed_tensors(weights))
    leaves.push_back(place(weights, placed.role, placed.part, placed.expert).requires_grad_());
  const auto out = block_forward(config, weights, leaves[0], rope_positions(config, 0, x.size(1), torch::kCPU));
  return torch::autograd::grad({out.square().sum()}, leaves);
}

TEST(KernelGradients, OfALayerAreThoseOfFloat64) {
  const Config config = test::layer_test_config();
  LayerConfig shape = test::layer_test_shape();
  shape.attention->qk_norm = QkNorm::head;
  const LayerWeights weights = test::random_layer(config, shape, 1);
  const auto x = random_tensor({2, 9, 32}, 11);
  const Tensors got = layer_gradients(config, weights, x, torch::kFloat);
  const Tensors expected = layer_gradients(config, weights, x, torch::kDouble);
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double error = (got[i].to(torch::kDouble) - expected[i]).norm().item<double>();
    EXPECT_LT(error, 1e-5 * expected[i].norm().item<double>()) << "tensor " << i;
  }
}

}  // namespace
}  // namespace streamline
