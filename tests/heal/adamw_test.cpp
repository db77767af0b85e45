// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/adamw.h"

#include <gtest/gtest.h>

#include <cmath>

namespace streamline {
namespace {

constexpr double kFloat64 = 1e-12;

// Algorithm 2 of arXiv 1711.05101 for one number.
double reference_adamw(double value, const std::vector<double>& gradients, double rate, const AdamWOptions& options) {
  double mean = 0, square = 0;
  for (std::size_t t = 1; t <= gradients.size(); ++t) {
    const double g = gradients[t - 1], n = static_cast<double>(t);
    mean = options.beta1 * mean + (1 - options.beta1) * g;
    square = options.beta2 * square + (1 - options.beta2) * g * g;
    const double mean_hat = mean / (1 - std::pow(options.beta1, n));
    const double square_hat = square / (1 - std::pow(options.beta2, n));
    value -= rate * (mean_hat / (std::sqrt(square_hat) + options.epsilon) + options.weight_decay * value);
  }
  return value;
}

torch::Tensor parameter(const std::vector<double>& values) {
  return torch::tensor(values, torch::kFloat64).requires_grad_(true);
}

TEST(AdamW, FollowsThePapersAlgorithm) {
  const AdamWOptions options{.beta1 = 0.9, .beta2 = 0.95, .weight_decay = 0.1};
  const std::vector<double> gradients = {0.5, -2.0, 1e-3};
  const auto weight = parameter({0.7, -1.5});
  AdamW optimizer({weight}, options);
  for (const double gradient : gradients) {
    weight.mutable_grad() = torch::tensor({gradient, 2 * gradient}, torch::kFloat64);
    optimizer.step(0.01);
    EXPECT_FALSE(weight.grad().defined());
  }
  EXPECT_NEAR(weight[0].item<double>(), reference_adamw(0.7, gradients, 0.01, options), kFloat64);
  EXPECT_NEAR(weight[1].item<double>(), reference_adamw(-1.5, {1.0, -4.0, 2e-3}, 0.01, options), kFloat64);
}

TEST(AdamW, ClipsTheNormOfAllGradientsTogether) {
  const auto a = parameter({0, 0}), b = parameter({0});
  const auto set = [&] {
    a.mutable_grad() = torch::tensor({3.0, 0.0}, torch::kFloat64);
    b.mutable_grad() = torch::tensor({4.0}, torch::kFloat64);
  };
  set();
  EXPECT_NEAR(clip_gradients({a, b}, 2.5), 5, kFloat64);
  EXPECT_NEAR(a.grad()[0].item<double>(), 1.5, kFloat64);
  EXPECT_NEAR(b.grad()[0].item<double>(), 2.0, kFloat64);
  set();
  EXPECT_NEAR(clip_gradients({a, b}, 0), 5, kFloat64);
  EXPECT_NEAR(clip_gradients({a, b}, 6), 5, kFloat64);
  EXPECT_DOUBLE_EQ(b.grad()[0].item<double>(), 4.0);
}

}  // namespace
}  // namespace streamline
