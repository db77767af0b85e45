// SPDX-License-Identifier: Apache-2.0
// Linear chips without steps: ridge regression (Hoerl, Kennard 1970) on one-hot targets, and multinomial logistic
// regression by Newton's method. All sums are in float64.
#include <cmath>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/chip/train.h"

namespace streamline::chip {
namespace {

constexpr std::int64_t kMostUnknowns = 12'000;  // of a Newton step: a matrix of 1.2 GB
constexpr int kMostSteps = 50;

torch::Tensor indicators(const torch::Tensor& labels, std::int64_t classes) {
  return torch::zeros({labels.size(0), classes}, torch::kFloat64).scatter_(1, labels.unsqueeze(1), 1.0);
}

// The factor of the logits under which they explain the labels best: argmax stays, probabilities become honest.
double best_temperature(const torch::Tensor& logits, const torch::Tensor& labels) {
  const auto right = logits.gather(1, labels.unsqueeze(1)).squeeze(1);
  double low = 1e-3, high = 1e3;  // the slope of the loss grows with the factor
  for (int step = 0; step < 60; ++step) {
    const double middle = std::sqrt(low * high);
    const auto shares = torch::softmax(logits * middle, 1);
    const double slope = ((shares * logits).sum(1) - right).sum().item<double>();
    (slope < 0 ? low : high) = middle;
  }
  return std::sqrt(low * high);
}

void set_linear(Chip& chip, const torch::Tensor& weight, const torch::Tensor& bias) {
  chip.weight = weight.to(torch::kFloat32).contiguous();
  chip.bias = bias.defined() ? bias.to(torch::kFloat32).contiguous() : torch::Tensor();
}

// X'X = V diag(e) V' of the (centred) features: with it every penalty's solution, and every text's residual when it is
// left out, are cheap.
struct Spectrum {
  torch::Tensor vectors, values;     // V [hidden, hidden], e [hidden]
  torch::Tensor rotated, projected;  // X V [texts, hidden], V' X' Y [hidden, classes]
  torch::Tensor squares;             // of X V
  double leverage = 0;               // of the mean: 1 / texts where one was taken off
};

// Residuals of each text under the fit to all others: r / (1 - leverage).
torch::Tensor left_out(const Spectrum& spectrum, const torch::Tensor& targets, double penalty) {
  const auto inverse = 1 / (spectrum.values + penalty);
  const auto fitted = spectrum.rotated.mm(inverse.unsqueeze(1) * spectrum.projected);
  const auto leverage = spectrum.squares.mv(inverse) + spectrum.leverage;
  return (targets - fitted) / (1 - leverage).clamp_min(1e-9).unsqueeze(1);
}

double choose_penalty(const Spectrum& spectrum, const torch::Tensor& targets) {
  const double scale = std::max(spectrum.values.mean().item<double>(), 1e-30);
  double best = scale, least = INFINITY;
  for (int exponent = -8; exponent <= 8; ++exponent) {
    const double penalty = scale * std::pow(10.0, 0.5 * exponent);
    const double error = left_out(spectrum, targets, penalty).square().sum().item<double>();
    if (error < least) {
      least = error;
      best = penalty;
    }
  }
  return best;
}

// The penalised mean-free loss of logistic regression, its gradient and Hessian. Unknowns: classes × (hidden [+ 1]).
struct Logistic {
  torch::Tensor x, targets;  // [texts, hidden (+ 1 of ones)], [texts, classes]
  torch::Tensor penalty;     // [hidden (+ 1)]; 0 for the bias, but for a trace that fixes the common shift

  torch::Tensor shares(const torch::Tensor& w) const { return torch::softmax(x.mm(w.t()), 1); }
  double loss(const torch::Tensor& w) const {
    const auto log_shares = torch::log_softmax(x.mm(w.t()), 1);
    return -(log_shares * targets).sum().item<double>() + 0.5 * (w.square() * penalty).sum().item<double>();
  }
  torch::Tensor gradient(const torch::Tensor& w) const { return (shares(w) - targets).t().mm(x) + w * penalty; }
  torch::Tensor hessian(const torch::Tensor& w) const {
    const auto p = shares(w);
    const std::int64_t classes = w.size(0), width = w.size(1);
    auto result = torch::zeros({classes, width, classes, width}, torch::kFloat64);
    for (std::int64_t a = 0; a < classes; ++a)
      for (std::int64_t b = a; b < classes; ++b) {
        const auto pa = p.select(1, a), pb = p.select(1, b);
        const auto weight = a == b ? pa * (1 - pa) : -pa * pb;
        auto block = (x * weight.unsqueeze(1)).t().mm(x);
        if (a == b) block.diagonal().add_(penalty);
        result.select(0, a).select(1, b).copy_(block);
        if (a != b) result.select(0, b).select(1, a).copy_(block.t());
      }
    return result.view({classes * width, classes * width});
  }
};

torch::Tensor newton_minimum(const Logistic& problem, std::int64_t classes) {
  auto w = torch::zeros({classes, problem.x.size(1)}, torch::kFloat64);
  double loss = problem.loss(w);
  for (int step = 0; step < kMostSteps; ++step) {
    check_interrupted();
    const auto gradient = problem.gradient(w);
    const auto direction =
        torch::cholesky_solve(gradient.reshape({-1, 1}), torch::linalg_cholesky(problem.hessian(w))).reshape(w.sizes());
    const double slope = (gradient * direction).sum().item<double>();
    if (slope < 1e-10 * (1 + std::abs(loss))) break;
    double length = 1, next = problem.loss(w - direction);
    while (next > loss - 1e-4 * length * slope && length > 1e-8) {
      length *= 0.5;
      next = problem.loss(w - length * direction);
    }
    w = w - length * direction;
    loss = next;
  }
  return w;
}

}  // namespace

void fit_ridge(Chip& chip, const torch::Tensor& features, const torch::Tensor& labels, const TrainOptions& options) {
  SL_ASSERT(chip.kind == Kind::linear);
  auto x = features.to(torch::kFloat64);
  auto targets = indicators(labels, chip.classes());
  torch::Tensor x_mean, target_mean;
  Spectrum spectrum;
  if (options.bias) {
    x_mean = x.mean(0);
    target_mean = targets.mean(0);
    x = x - x_mean;
    targets = targets - target_mean;
    spectrum.leverage = 1 / static_cast<double>(x.size(0));
  }
  std::tie(spectrum.values, spectrum.vectors) = torch::linalg_eigh(x.t().mm(x));
  spectrum.values.clamp_min_(0);
  spectrum.rotated = x.mm(spectrum.vectors);
  spectrum.squares = spectrum.rotated.square();
  spectrum.projected = spectrum.rotated.t().mm(targets);
  const double penalty = options.penalty > 0 ? options.penalty : choose_penalty(spectrum, targets);
  auto weight = spectrum.vectors.mm(spectrum.projected / (spectrum.values + penalty).unsqueeze(1)).t();
  auto bias = options.bias ? target_mean - weight.mv(x_mean) : torch::Tensor();
  auto unseen = targets - left_out(spectrum, targets, penalty);
  if (options.bias) unseen = unseen + target_mean;
  const double factor = best_temperature(unseen, labels);
  set_linear(chip, weight * factor, options.bias ? bias * factor : bias);
}

void fit_newton(Chip& chip, const torch::Tensor& features, const torch::Tensor& labels, const TrainOptions& options) {
  SL_ASSERT(chip.kind == Kind::linear);
  const std::int64_t hidden = features.size(1), classes = chip.classes(), width = hidden + (options.bias ? 1 : 0);
  if (classes * width > kMostUnknowns)
    fail(ErrorKind::unsupported, classes, " classes of ", width, " numbers are too many for Newton's method (",
         kMostUnknowns, "); --method ridge or adamw");
  Logistic problem;
  problem.x = features.to(torch::kFloat64);
  problem.penalty = torch::full({width}, options.penalty > 0 ? options.penalty : 1.0, torch::kFloat64);
  if (options.bias) {
    problem.x = torch::cat({problem.x, torch::ones({features.size(0), 1}, torch::kFloat64)}, 1);
    problem.penalty[hidden] = 1e-8;
  }
  problem.targets = indicators(labels, classes);
  const auto w = newton_minimum(problem, classes);
  set_linear(chip, w.narrow(1, 0, hidden), options.bias ? w.select(1, hidden) : torch::Tensor());
}

}  // namespace streamline::chip
