// SPDX-License-Identifier: Apache-2.0
#include "streamline/chip/chip.h"

#include <array>

#include "streamline/base/error.h"
#include "streamline/base/value_named.h"

namespace streamline::chip {
namespace {

constexpr std::array<std::string_view, 2> kKinds = {"linear", "mlp"};
constexpr std::array<std::string_view, 4> kNorms = {"none", "standardise", "rms", "layer"};

torch::Tensor affine(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) {
  return bias.defined() ? torch::linear(x, weight, bias) : torch::linear(x, weight);
}

}  // namespace

std::string_view name(Kind kind) { return kKinds.at(static_cast<std::size_t>(kind)); }
Kind kind_named(std::string_view word) { return value_named<Kind>(kKinds, word, "kind of chip"); }
std::string_view name(FeatureNorm norm) { return kNorms.at(static_cast<std::size_t>(norm)); }
FeatureNorm feature_norm_named(std::string_view word) {
  return value_named<FeatureNorm>(kNorms, word, "normalisation of features");
}

Normaliser make_normaliser(FeatureNorm norm, double epsilon, const torch::Tensor& states) {
  Normaliser result{.norm = norm, .epsilon = epsilon};
  if (norm != FeatureNorm::standardise) return result;
  const auto wide = states.to(torch::kFloat64);
  const auto mean = wide.mean(0);
  const auto deviation = wide.var(0, /*unbiased=*/false).sqrt();
  result.mean = mean.to(torch::kFloat32);
  // What is constant but for rounding carries nothing.
  const auto changes = deviation > 1e-6 * mean.abs();
  result.scale = torch::where(changes, 1 / deviation, torch::zeros_like(deviation)).to(torch::kFloat32);
  return result;
}

torch::Tensor normalised(const Normaliser& normaliser, const torch::Tensor& states) {
  const auto x = states.to(torch::kFloat32);
  switch (normaliser.norm) {
    case FeatureNorm::none:
      return x;
    case FeatureNorm::standardise:
      return (x - normaliser.mean) * normaliser.scale;
    case FeatureNorm::rms:
      return x * torch::rsqrt(x.square().mean(-1, /*keepdim=*/true) + normaliser.epsilon);
    case FeatureNorm::layer:
      return torch::layer_norm(x, {x.size(-1)}, {}, {}, normaliser.epsilon);
  }
  fail(ErrorKind::internal, "unknown normalisation of features");
}

std::vector<torch::Tensor> trainable(const Chip& chip) {
  std::vector<torch::Tensor> tensors;
  for (const torch::Tensor& tensor : {chip.hidden_weight, chip.hidden_bias, chip.weight, chip.bias})
    if (tensor.defined()) tensors.push_back(tensor);
  return tensors;
}

std::int64_t parameters(const Chip& chip) {
  std::int64_t total = 0;
  for (const torch::Tensor& tensor : trainable(chip)) total += tensor.numel();
  return total;
}

torch::Tensor logits_of_normalised(const Chip& chip, const torch::Tensor& features) {
  const auto x = chip.kind == Kind::mlp ? affine(features, chip.hidden_weight, chip.hidden_bias).relu() : features;
  return affine(x, chip.weight, chip.bias);
}

torch::Tensor logits(const Chip& chip, const torch::Tensor& states) {
  return logits_of_normalised(chip, normalised(chip.normaliser, states));
}

}  // namespace streamline::chip
