// SPDX-License-Identifier: Apache-2.0
// The fused kernels against the tensor expressions that they stand for.
#include "streamline/nn/kernels.h"

#include <cmath>
#include <limits>

#include "streamline/base/simd.h"
#include "streamline/nn/rope.h"
#include "support/core/expect.h"
#include "support/torch/layers.h"
#include "support/torch/pico.h"

namespace streamline {
namespace {

using test::random_tensor;

constexpr double kOneRounding32 = 1e-6;
constexpr double kOneRounding16 = 1.0 / 256;  // one rounding: half a unit of eight bits

double relative(const torch::Tensor& a, const torch::Tensor& b) {
  const auto x = a.to(torch::kDouble), y = b.to(torch::kDouble);
  return ((x - y).abs() / (y.abs() + 1e-3)).max().item<double>();
}

struct Precision {
  torch::ScalarType type;
  double tolerance;
};
const std::vector<Precision> kPrecisions = {{torch::kFloat, kOneRounding32}, {torch::kBFloat16, kOneRounding16}};

TEST(Kernels, NormaliseAsTheFormulaSays) {
  for (const Precision& c : kPrecisions)
    for (const std::int64_t width : {1, 7, 32, 33, 576}) {
      const auto x = random_tensor({3, 5, width}, 1, 4).to(c.type), weight = random_tensor({width}, 2).to(c.type);
      const auto wide = x.to(torch::kDouble);
      const auto expected = wide / (wide.square().mean(-1, true) + 1e-3).sqrt() * weight.to(torch::kDouble);
      EXPECT_LT(relative(kernels::rms_norm(x, weight, 1e-3), expected), c.tolerance) << width;
    }
}

TEST(Kernels, NormaliseRowsThatAreNotAdjacent) {
  const auto x = random_tensor({4, 6, 32}, 1).transpose(0, 1), weight = random_tensor({32}, 2);
  EXPECT_TRUE(torch::equal(kernels::rms_norm(x, weight, 1e-3), kernels::rms_norm(x.contiguous(), weight, 1e-3)));
}

// Rows far from zero, where the difference of two sums would lose the variance.
TEST(Kernels, NormaliseAroundTheMeanAsTheFormulaSays) {
  for (const Precision& c : kPrecisions)
    for (const std::int64_t width : {2, 7, 32, 33, 576})
      for (const bool biased : {false, true}) {
        const auto x = (random_tensor({3, 5, width}, 1, 4) + 30).to(c.type);
        const auto weight = random_tensor({width}, 2).to(c.type);
        const auto bias = biased ? random_tensor({width}, 3).to(c.type) : torch::Tensor();
        const auto expected = torch::layer_norm(x.to(torch::kDouble), {width}, weight.to(torch::kDouble),
                                                biased ? bias.to(torch::kDouble) : bias, 1e-3);
        const auto got = kernels::layer_norm(x, weight, bias, 1e-3);
        EXPECT_EQ(got.scalar_type(), c.type);
        EXPECT_TRUE(torch::allclose(got.to(torch::kDouble), expected, c.tolerance, /*atol=*/1e-5)) << width;
      }
}

TEST(Kernels, NormaliseOneRowAndNone) {
  const auto weight = random_tensor({33}, 2), bias = random_tensor({33}, 3);
  for (const std::int64_t rows : {0, 1}) {
    const auto x = random_tensor({rows, 33}, 1);
    EXPECT_TRUE(torch::allclose(kernels::layer_norm(x, weight, bias, 1e-3),
                                torch::layer_norm(x, {33}, weight, bias, 1e-3), 1e-5, 1e-5));
    const auto normed = x * torch::rsqrt(x.square().mean(-1, true) + 1e-3) * weight;
    EXPECT_TRUE(torch::allclose(kernels::rms_norm(x, weight, 1e-3), normed, 1e-5, 1e-5));
  }
}

TEST(Kernels, GateAsTheFormulaSays) {
  for (const Precision& c : kPrecisions) {
    auto gate = random_tensor({3, 1001}, 1, 6).to(c.type);
    const auto up = random_tensor({3, 1001}, 2).to(c.type);
    const auto g = gate.to(torch::kDouble);
    const auto expected = g / (1 + (-g).exp()) * up.to(torch::kDouble);
    const auto apart = kernels::silu_product(gate, up);
    kernels::silu_multiply(gate, up);
    EXPECT_TRUE(torch::equal(apart, gate));
    EXPECT_LT(relative(gate, expected), 2 * c.tolerance);
  }
}

TEST(Kernels, RotateAsTheFormulaSays) {
  const Config config = test::layer_test_config();
  const Positions positions = rope_positions(config, 3, 11, torch::kCPU);
  for (const Precision& c : kPrecisions) {
    auto x = random_tensor({2, 11, 4, 8}, 1).to(c.type);
    const auto expected = rotate(x.to(torch::kDouble), positions.global);
    const auto apart = kernels::rotated(x, positions.global.cos, positions.global.sin, kernels::Turn::forth);
    kernels::rotate(x, positions.global.cos, positions.global.sin);
    EXPECT_TRUE(torch::equal(apart, x));
    EXPECT_LT((x.to(torch::kDouble) - expected).abs().max().item<double>(), 4 * c.tolerance);
  }
}

// Heads taken out of the middle of a wider matrix, of which a part only turns.
TEST(Kernels, RotateHeadsThatAreNotAdjacentAndPassTheRest) {
  const Positions positions = rope_positions(test::layer_test_config(), 3, 11, torch::kCPU);
  const auto x = random_tensor({2, 11, 6, 13}, 1).narrow(2, 1, 3);
  const auto expected = rotate(x.to(torch::kDouble), positions.global).to(torch::kFloat);
  const auto got = kernels::rotated(x, positions.global.cos, positions.global.sin, kernels::Turn::forth);
  EXPECT_TRUE(torch::allclose(got, expected, 1e-5, 1e-5));
  EXPECT_TRUE(torch::equal(got.narrow(-1, 8, 5), x.narrow(-1, 8, 5)));
  const auto back = kernels::rotated(got, positions.global.cos, positions.global.sin, kernels::Turn::back);
  EXPECT_TRUE(torch::allclose(back, x, 1e-5, 1e-5));
  const auto none =
      kernels::rotated(x.narrow(0, 0, 0), positions.global.cos, positions.global.sin, kernels::Turn::forth);
  EXPECT_EQ(none.sizes(), (torch::IntArrayRef{0, 11, 3, 13}));
}

TEST(Kernels, ServeOnlyWithoutGradientsAndInOneType) {
  auto x = random_tensor({2, 3}, 1);
  EXPECT_TRUE(kernels::apply_to({x, x}));
  EXPECT_FALSE(kernels::apply_to({x, x.to(torch::kBFloat16)}));
  EXPECT_FALSE(kernels::apply_to({x.to(torch::kDouble)}));
  x.requires_grad_();
  EXPECT_FALSE(kernels::apply_to({x}));
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(kernels::apply_to({x}));
}

TEST(Simd, ExpIsExactToTwoPartsInTenMillion) {
  for (double x = -86; x <= 87; x += 0.0137) {
    const float value = static_cast<float>(x);
    const double exact = std::exp(static_cast<double>(value));
    EXPECT_NEAR(simd::exp(value) / exact, 1, 2.5e-7) << value;
  }
  EXPECT_LT(simd::exp(-1000), 2e-38f);
  EXPECT_GT(simd::exp(1000), 1e38f);
  EXPECT_EQ(simd::exp(0), 1);
}

TEST(Simd, CoarsePowersOfTwoAreExactToThreePartsInAMillion) {
  for (double x = -126; x <= 0; x += 0.0137) {
    const float value = static_cast<float>(x);
    EXPECT_NEAR(simd::exp2_coarse(value) / std::exp2(static_cast<double>(value)), 1, 3e-6) << value;
  }
  for (const float value : {-128.0f, -1e3f, -3e7f, -1e30f}) EXPECT_EQ(simd::exp2_coarse(value), 0) << value;
}

TEST(Simd, PowersOfTwoAreExactToTwoPartsInTenMillion) {
  for (double x = -126; x <= 0; x += 0.0137) {
    const float value = static_cast<float>(x);
    EXPECT_NEAR(simd::exp2(value) / std::exp2(static_cast<double>(value)), 1, 2e-7) << value;
  }
  for (const float value : {-128.0f, -1e3f, -3e7f, -1e30f}) EXPECT_EQ(simd::exp2(value), 0) << value;
}

TEST(Simd, TanhIsExactToFourPartsInTenMillion) {
  for (double x = -12; x <= 12; x += 0.00137) {
    const float value = static_cast<float>(x);
    const double exact = std::tanh(static_cast<double>(value));
    EXPECT_NEAR(simd::tanh(value), exact, 4e-7 * std::abs(exact)) << value;
  }
  EXPECT_EQ(simd::tanh(1e30f), 1);
  EXPECT_EQ(simd::tanh(-1e30f), -1);
}

TEST(Simd, HasLimitsWhereFunctionsHave) {
  const float infinite = std::numeric_limits<float>::infinity();
  for (const float far : {200.0f, 5e6f, 1.46e7f, 2.5e7f, 3e38f, infinite}) {
    EXPECT_EQ(simd::exp2(-far), 0) << far;
    EXPECT_EQ(simd::exp2_coarse(-far), 0) << far;
    EXPECT_EQ(simd::tanh(far), 1) << far;
    EXPECT_EQ(simd::tanh(-far), -1) << far;
  }
  EXPECT_TRUE(std::isnan(simd::exp2(std::nanf(""))) && std::isnan(simd::tanh(std::nanf(""))));
}

TEST(Simd, AddsAndComparesLanes) {
  float lanes[8] = {1, -2, 3, 9, 5, -6, 7, 8};
  EXPECT_EQ(simd::largest(lanes), 9);
  float others[8] = {1, -2, 3, 9, 5, -6, 7, 8};
  EXPECT_EQ(simd::sum(others), 25);
}

TEST(Simd, RoundsToBfloat16AsTorchDoes) {
  for (const float value : {0.0f, 1.0f, 1.00390625f, 1.01171875f, -3.1415926f, 1e-40f, 3.3e38f, 3.4e38f,
                            std::numeric_limits<float>::infinity()}) {
    simd::Bf16 stored = 0;
    simd::store(&stored, value);
    EXPECT_EQ(stored, c10::BFloat16(value).x) << value;
  }
  simd::Bf16 stored = 0;
  simd::store(&stored, std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(std::isnan(simd::load(&stored)));
}

}  // namespace
}  // namespace streamline
