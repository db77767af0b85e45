// SPDX-License-Identifier: Apache-2.0
// The attention kernel's gradients against libtorch's of the softmax written out in float64, and against differences.
#include <torch/autograd.h>

#include <cmath>

#include "streamline/nn/flash_attention.h"
#include "streamline/nn/kernel_gradients.h"
#include "support/core/expect.h"
#include "support/torch/layers.h"
#include "support/torch/pico.h"
#include "support/torch/softmax_attention.h"

namespace streamline {
namespace {

using test::attention_inputs;
using test::AttentionCase;
using test::random_tensor;
using test::softmax_attention;
using TensorList = std::vector<torch::Tensor>;

struct AttentionGradientPrecision {
  torch::ScalarType type;
  double relative;  // in norm
};
// Sums of some hundred products; probabilities, their gradients and results of eight bits.
const std::vector<AttentionGradientPrecision> kAttentionGradientPrecisions = {{torch::kFloat, 1e-5},
                                                                              {torch::kBFloat16, 1.0 / 128}};
constexpr double kAttentionFloor = 1e-5;  // of an element, where terms of about 1 cancel

template <class Attention>
TensorList attention_gradients(Attention&& attention, const TensorList& inputs, const torch::Tensor& gradient,
                               const FlashOptions& options) {
  TensorList leaves;
  for (const torch::Tensor& input : inputs) leaves.push_back(input.detach().clone().requires_grad_());
  return torch::autograd::grad({attention(leaves[0], leaves[1], leaves[2], options)}, leaves, {gradient});
}

bool serves(const TensorList& x) { return flash_attention_serves(x[0], x[1], x[2]); }

void expect_close(const torch::Tensor& got, const torch::Tensor& expected, double relative) {
  const double error = (got.to(torch::kDouble) - expected).norm().item<double>();
  const double floor = kAttentionFloor * std::sqrt(static_cast<double>(expected.numel()));
  EXPECT_LE(error, relative * expected.norm().item<double>() + floor) << expected.sizes() << got.scalar_type();
}

void expect_attention_gradients(const AttentionCase& c, const AttentionGradientPrecision& p, double spread = 1) {
  TensorList x = attention_inputs(c, p.type);
  if (!serves(x)) return;
  x[0] = x[0] * spread;
  TensorList wide;
  for (const torch::Tensor& tensor : x) wide.push_back(tensor.to(torch::kDouble));
  const auto gradient = random_tensor(x[0].sizes().vec(), 9).to(p.type);
  const TensorList got = attention_gradients(kernels::recorded_attention, x, gradient, c.options);
  const TensorList expected = attention_gradients(softmax_attention, wide, gradient.to(torch::kDouble), c.options);
  for (std::size_t i = 0; i < x.size(); ++i) {
    SCOPED_TRACE("input " + std::to_string(i));
    EXPECT_EQ(got[i].scalar_type(), p.type);
    EXPECT_EQ(got[i].sizes(), x[i].sizes());
    expect_close(got[i], expected[i], p.relative);
  }
}

TEST(FlashGradients, AreThoseOfTheSoftmaxWrittenOut) {
  const std::vector<AttentionCase> cases = {
      {1, 1, 1, 1, 1, 32},
      {2, 7, 7, 4, 1, 64},
      {2, 65, 65, 4, 4, 80},
      {1, 130, 130, 8, 1, 96},
      {1, 130, 130, 8, 2, 128},
      {1, 65, 65, 2, 2, 256},
      {3, 257, 257, 9, 3, 64},
      {1, 600, 600, 4, 1, 32, {.window = 7}},
      {1, 600, 600, 4, 2, 64, {.window = 256}},
      {1, 33, 33, 2, 2, 128, {.window = 1}},
      {1, 20, 533, 4, 2, 32},
      {2, 70, 533, 4, 2, 32, {.window = 100}},
      {1, 90, 90, 3, 3, 64, {.scale = 0.3}},
      {1, 300, 300, 8, 1, 64, {.softcap = 1.5}},
      {1, 70, 300, 4, 2, 64, {.window = 40, .scale = 1.0, .softcap = 5}},
      {1, 67, 67, 200, 1, 16},    // more heads in a group than rows in a product
      {1, 1100, 1100, 8, 1, 16},  // queries in two parts
  };
  for (const AttentionGradientPrecision& p : kAttentionGradientPrecisions)
    for (const AttentionCase& c : cases) expect_attention_gradients(c, p);
}

// Scores up to some twenty, which a cap bends much: differences of score and sum lose two digits in fp32.
TEST(FlashGradients, KeepTheirBalanceWithLargeScores) {
  for (const FlashOptions& options : {FlashOptions{}, FlashOptions{.softcap = 5}}) {
    expect_attention_gradients({1, 300, 300, 2, 1, 64, options}, {torch::kFloat, 1e-5}, 5);
    expect_attention_gradients({1, 300, 300, 2, 1, 64, options}, {torch::kBFloat16, 1.0 / 32}, 5);
  }
}

TEST(FlashGradients, OfAnEmptyBatchAreEmpty) {
  for (const AttentionGradientPrecision& p : kAttentionGradientPrecisions) {
    const TensorList x = attention_inputs({0, 40, 40, 2, 1, 32}, p.type);
    if (!serves(x)) continue;
    const TensorList got = attention_gradients(kernels::recorded_attention, x, torch::zeros_like(x[0]), {});
    for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(got[i].sizes(), x[i].sizes());
  }
}

// Central differences of the oracle, in float64.
TEST(FlashGradients, AreThoseOfDifferences) {
  const TensorList x = attention_inputs({1, 9, 12, 2, 1, 16}, torch::kFloat);
  if (!serves(x)) GTEST_SKIP() << "this machine has no fp32 block products";
  const FlashOptions options{.window = 5, .softcap = 2};
  const auto gradient = random_tensor(x[0].sizes().vec(), 4);
  const TensorList analytic = attention_gradients(kernels::recorded_attention, x, gradient, options);
  constexpr double kStep = 1e-4, kTolerance = 1e-5;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto direction = random_tensor(x[i].sizes().vec(), 5 + i).to(torch::kDouble);
    const auto loss = [&](double step) {
      TensorList moved = x;
      moved[i] = x[i] + step * direction;
      return (softmax_attention(moved[0], moved[1], moved[2], options) * gradient).sum().item<double>();
    };
    const double numeric = (loss(kStep) - loss(-kStep)) / (2 * kStep);
    const double scale = (analytic[i].norm() * direction.norm()).item<double>();
    EXPECT_GT(scale, 1);
    EXPECT_NEAR(numeric, (analytic[i] * direction).sum().item<double>(), kTolerance * scale) << "input " << i;
  }
}

// A sum's gradient has no strides at all; attention's inputs may have heads before positions.
TEST(FlashGradients, ReadRowsWhereverTheyLie) {
  for (const AttentionGradientPrecision& p : kAttentionGradientPrecisions) {
    const TensorList x = attention_inputs({2, 50, 50, 4, 2, 32}, p.type);
    if (!serves(x)) continue;
    TensorList strided;
    for (const torch::Tensor& tensor : x)
      strided.push_back(tensor.transpose(1, 2).contiguous().transpose(1, 2).requires_grad_());
    const auto out = kernels::recorded_attention(strided[0], strided[1], strided[2], {});
    for (const torch::Tensor& gradient :
         {torch::ones({}, p.type).expand_as(x[0]), random_tensor({2, 4, 50, 32}, 4).to(p.type).transpose(1, 2)}) {
      const TensorList expected = attention_gradients(kernels::recorded_attention, x, gradient.contiguous(), {});
      const TensorList got = torch::autograd::grad({out}, strided, {gradient}, /*retain_graph=*/true);
      for (std::size_t i = 0; i < x.size(); ++i) EXPECT_TRUE(torch::equal(got[i], expected[i])) << i;
    }
  }
}

TEST(FlashGradients, AreTheSameBitsWhateverTheNumberOfThreads) {
  const int threads = at::get_num_threads();
  for (const AttentionGradientPrecision& p : kAttentionGradientPrecisions) {
    for (const AttentionCase& c : {AttentionCase{3, 150, 150, 4, 2, 32}, AttentionCase{1, 600, 700, 16, 1, 16}}) {
      const TensorList x = attention_inputs(c, p.type);
      if (!serves(x)) continue;
      const auto gradient = random_tensor(x[0].sizes().vec(), 4).to(p.type);
      at::set_num_threads(1);
      const TensorList one = attention_gradients(kernels::recorded_attention, x, gradient, {});
      at::set_num_threads(3);
      const TensorList three = attention_gradients(kernels::recorded_attention, x, gradient, {});
      for (std::size_t i = 0; i < x.size(); ++i) EXPECT_TRUE(torch::equal(one[i], three[i])) << i;
    }
  }
  at::set_num_threads(threads);
}

TEST(FlashGradients, HaveNoSecondDerivatives) {
  TensorList x = attention_inputs({1, 20, 20, 2, 1, 16}, torch::kFloat);
  if (!serves(x)) GTEST_SKIP() << "this machine has no fp32 block products";
  for (const std::size_t i : {0, 1, 2}) {
    TensorList leaves = x;
    leaves[i] = x[i].clone().requires_grad_();
    const auto loss = kernels::recorded_attention(leaves[0], leaves[1], leaves[2], {}).square().sum();
    const auto first = torch::autograd::grad({loss}, {leaves[i]}, {}, /*retain_graph=*/true, /*create_graph=*/true)[0];
    EXPECT_ERROR(torch::autograd::grad({first.sum()}, {leaves[i]}), unsupported, "no second derivatives");
  }
}

// A whole layer with heads that the kernel takes, in a type that it takes and in float64, which is libtorch's.
TensorList kernel_layer_gradients(const Config& config, LayerWeights weights, const torch::Tensor& x,
                                  torch::ScalarType type) {
  weights = copy_to(weights, torch::kCPU, type);
  TensorList leaves = {x.to(type).requires_grad_()};
  for (const PlacedTensor& placed : placed_tensors(weights))
    leaves.push_back(place(weights, placed.role, placed.part, placed.expert).requires_grad_());
  const auto out = block_forward(config, weights, leaves[0], rope_positions(config, 0, x.size(1), torch::kCPU));
  return torch::autograd::grad({out.square().sum()}, leaves);
}

TEST(FlashGradients, OfLayersAreThoseOfFloat64) {
  const Config config = test::layer_test_config();
  AttentionConfig plain{.heads = 4, .kv_heads = 2, .head_dim = 16}, window = plain, chunk = plain, cap = plain;
  window.window = 20;
  chunk.chunk = 140;  // of which the last has too few queries for the kernel
  cap.softcap = 1.5;
  cap.scale = 0.7;
  for (const AttentionConfig& attention : {plain, window, chunk, cap}) {
    LayerConfig shape = test::layer_test_shape();
    shape.attention = attention;
    const LayerWeights weights = test::random_layer(config, shape, 1);
    const auto x = random_tensor({1, 300, 32}, 11);
    const TensorList got = kernel_layer_gradients(config, weights, x, torch::kFloat);
    const TensorList expected = kernel_layer_gradients(config, weights, x, torch::kDouble);
    for (std::size_t i = 0; i < got.size(); ++i) {
      const double error = (got[i].to(torch::kDouble) - expected[i]).norm().item<double>();
      EXPECT_LT(error, 1e-5 * expected[i].norm().item<double>()) << "tensor " << i;
    }
  }
}

}  // namespace
}  // namespace streamline
