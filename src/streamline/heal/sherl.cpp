// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/sherl.h"

#include <cmath>

#include "streamline/base/error.h"
#include "streamline/heal/initial.h"

namespace streamline {
namespace {

constexpr double kGateTemperature = 0.1;
constexpr double kPaperDeviation = 0.01;
constexpr double kOpenGate = 1;  // tanh(10) is 1 in float32

torch::Tensor unit_root_mean_square(const torch::Tensor& x, double epsilon) {
  return x * torch::rsqrt(x.square().mean(-1, /*keepdim=*/true) + epsilon);
}

// [..., hidden] → [..., width]
torch::Tensor reduce(const SherlReducer& reducer, const torch::Tensor& feature) {
  const auto a = torch::linear(feature, reducer.f1, reducer.b1).relu();
  return (torch::linear(a, reducer.f2, reducer.b2) + a) * torch::sigmoid(torch::linear(a, reducer.f3, reducer.b3));
}

}  // namespace

std::vector<torch::Tensor*> SherlAdapter::tensors() {
  std::vector<torch::Tensor*> all;
  for (SherlReducer& reducer : reducers)
    all.insert(all.end(), {&reducer.f1, &reducer.b1, &reducer.f2, &reducer.b2, &reducer.f3, &reducer.b3});
  all.insert(all.end(), {&score, &score_bias, &out, &out_bias, &gate});
  return all;
}

std::vector<std::pair<std::string, torch::Tensor>> SherlAdapter::named() const {
  std::vector<std::pair<std::string, torch::Tensor>> all;
  for (std::size_t i = 0; i < reducers.size(); ++i) {
    const SherlReducer& r = reducers[i];
    const std::string prefix = "reducer." + std::to_string(i) + ".";
    for (const auto& [name, tensor] :
         {std::pair{"f1.weight", r.f1}, std::pair{"f1.bias", r.b1}, std::pair{"f2.weight", r.f2},
          std::pair{"f2.bias", r.b2}, std::pair{"f3.weight", r.f3}, std::pair{"f3.bias", r.b3}})
      all.emplace_back(prefix + name, tensor);
  }
  all.emplace_back("score.weight", score);
  all.emplace_back("score.bias", score_bias);
  all.emplace_back("out.weight", out);
  all.emplace_back("out.bias", out_bias);
  all.emplace_back("gate", gate);
  return all;
}

std::int64_t SherlAdapter::parameters() const {
  std::int64_t total = 0;
  for (const auto& [name, tensor] : named()) total += tensor.numel();
  return total;
}

std::vector<std::int64_t> spread_features(std::int64_t at, std::int64_t count) {
  std::vector<std::int64_t> features;
  for (std::int64_t i = 0; i < count; ++i)
    features.push_back(
        std::llround(static_cast<double>(i * at) / static_cast<double>(std::max<std::int64_t>(1, count - 1))));
  return features;
}

void check_late(const Model& model, const SherlOptions& options) {
  const std::int64_t layers = model.layer_count();
  if (options.late < 1 || options.late >= layers)
    fail(ErrorKind::usage, "--late ", options.late, ": of the model's ", layers, " layers 1 to ", layers - 1,
         " can be the late route");
}

SherlAdapter initial_sherl(const Model& model, const SherlOptions& options, Rng& rng) {
  check_late(model, options);
  const std::int64_t hidden = model.config().hidden, at = model.layer_count() - options.late;
  if (options.features < 2 || options.features > at + 1)
    fail(ErrorKind::usage, "--features ", options.features, ": 2 to ", at + 1, " hidden states come before layer ", at);
  const std::int64_t width = options.reduction > 0 ? hidden / options.reduction : 0;
  if (width < 1) fail(ErrorKind::usage, "--reduction ", options.reduction, " leaves nothing of a width of ", hidden);
  const bool paper = options.start == SherlStart::paper;
  const auto deviation = [&](std::int64_t fan_in) {
    return paper ? kPaperDeviation : 1 / std::sqrt(static_cast<double>(fan_in));
  };
  SherlAdapter adapter{.at = at, .features = spread_features(at, options.features)};
  adapter.epsilon = options.feature_norm ? model.config().norm_epsilon : 0;
  for (std::int64_t i = 0; i < options.features; ++i) {
    const auto zeros = torch::zeros({width});
    adapter.reducers.push_back({normal_tensor({width, hidden}, deviation(hidden), rng), zeros.clone(),
                                normal_tensor({width, width}, deviation(width), rng), zeros.clone(),
                                normal_tensor({width, width}, deviation(width), rng), zeros.clone()});
  }
  adapter.score = normal_tensor({width}, deviation(width), rng);
  adapter.score_bias = torch::zeros({});
  adapter.out = paper ? normal_tensor({hidden, width}, kPaperDeviation, rng) : torch::zeros({hidden, width});
  adapter.out_bias = torch::zeros({hidden});
  adapter.gate = torch::full({}, paper ? 0.0 : kOpenGate);
  return adapter;
}

SherlMerge merge_pool(const torch::Tensor& pool, const torch::Tensor& guide, const torch::Tensor& score,
                      const torch::Tensor& bias) {
  const auto unit = pool / (pool.norm(2, -1, /*keepdim=*/true) + 1e-6);
  SherlMerge merge;
  merge.redundancy = unit.matmul(unit.transpose(-1, -2)).relu().sum(-1);
  const auto c = (pool * guide.unsqueeze(-2)).matmul(score) + bias;  // [..., n]
  // A member that is zero is like nothing, itself included.
  const auto q = c.relu() / merge.redundancy.clamp_min(1e-6);
  merge.weights = q / (q.sum(-1, /*keepdim=*/true) + 1e-6);
  merge.merged = (merge.weights.unsqueeze(-1) * pool).sum(-2) + guide;
  return merge;
}

torch::Tensor sherl_output(const SherlAdapter& adapter, const std::vector<torch::Tensor>& features,
                           const torch::Tensor& stream) {
  SL_ASSERT(features.size() == adapter.reducers.size());
  const auto type = adapter.out.scalar_type();
  std::vector<torch::Tensor> reduced;
  for (std::size_t i = 0; i < features.size(); ++i) {
    const auto feature = features[i].to(type);
    reduced.push_back(
        reduce(adapter.reducers[i], adapter.epsilon > 0 ? unit_root_mean_square(feature, adapter.epsilon) : feature));
  }
  const auto guide = reduced.back();
  reduced.pop_back();
  const auto y = merge_pool(torch::stack(reduced, -2), guide, adapter.score, adapter.score_bias).merged;
  const auto open = torch::tanh(adapter.gate / kGateTemperature);
  return (torch::linear(y.relu(), adapter.out, adapter.out_bias) + open * stream.to(type)).to(stream.scalar_type());
}

std::shared_ptr<const SideRoute> route_of(SherlAdapter adapter, const Placement& placement) {
  for (torch::Tensor* tensor : adapter.tensors()) *tensor = tensor->detach().to(placement.device);
  SideRoute route{.at = adapter.at, .features = adapter.features, .parameters = adapter.parameters(), .apply = {}};
  route.apply = [adapter = std::move(adapter)](const std::vector<torch::Tensor>& features,
                                               const torch::Tensor& stream) {
    return sherl_output(adapter, features, stream);
  };
  return std::make_shared<const SideRoute>(std::move(route));
}

}  // namespace streamline
