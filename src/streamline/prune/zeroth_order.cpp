// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/zeroth_order.h"

#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

#include "streamline/arch/layer_slice.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/random.h"
#include "streamline/engine/tail.h"
#include "streamline/prune/inside_gradients.h"

namespace streamline {
namespace {

// The experts' gates are those of Role::down outside experts.
constexpr std::int64_t kNoExpert = -1;

std::uint64_t tensor_seed(std::uint64_t seed, std::int64_t layer, Role role, std::int64_t expert) {
  Rng rng(seed);
  for (const std::int64_t part : {layer, static_cast<std::int64_t>(role), expert})
    rng = Rng(rng.next() ^ static_cast<std::uint64_t>(part + 1));
  return rng.next();
}

LayerWeights moved_weights(LayerWeights weights, std::int64_t layer, std::uint64_t seed, double step) {
  for (const PlacedTensor& tensor : placed_tensors(weights)) {
    if (!is_probed(weights.config, tensor.role, tensor.part, tensor.expert)) continue;
    const auto along = direction(seed, layer, tensor.role, tensor.expert, tensor.value.sizes());
    place(weights, tensor.role, tensor.part, tensor.expert) =
        tensor.value.add(along.to(tensor.value.device(), tensor.value.scalar_type()), step);
  }
  return weights;
}

LayerWeights moved_gates(LayerWeights weights, std::int64_t layer, std::uint64_t seed, double step) {
  weights.gates = unit_gates(weights.config, weights.all().front().options());
  const auto move = [&](torch::Tensor& gate, Role role) {
    if (!gate.defined()) return;
    gate = gate.add(direction(seed, layer, role, kNoExpert, gate.sizes()).to(gate.device(), gate.scalar_type()), step);
  };
  move(weights.gates.heads, Role::o);
  move(weights.gates.channels, Role::down);
  return weights;
}

double loss_with(const Model& model, const torch::Tensor& ids, const LayerSource& layers) {
  const torch::NoGradGuard no_grad;
  check_interrupted();
  return translating_errors([&] {
    const double sum = Tail(model, 0, layers).next_token(model.embed(ids), ids, /*gradient=*/false).sum;
    return sum / static_cast<double>(ids.size(0) * (ids.size(1) - 1));
  });
}

}  // namespace

double central_slope(const std::function<double(double step)>& loss, double eps) {
  const double above = loss(eps), below = loss(-eps);
  return (above - below) / (2 * eps);
}

std::vector<Probe> probe_slopes(const LossAlong& loss, std::int64_t count, double eps, std::uint64_t seed,
                                const Ranks& ranks) {
  Rng rng(seed);
  std::vector<Probe> probes;
  std::vector<double> slopes(static_cast<std::size_t>(count));  // each of one rank, and 0 elsewhere
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint64_t along = rng.next();
    probes.push_back({.seed = along});
    if (ranks.takes(i))
      slopes[static_cast<std::size_t>(i)] = central_slope([&](double step) { return loss(along, step); }, eps);
  }
  ranks.sum(slopes);
  for (std::size_t i = 0; i < probes.size(); ++i) probes[i].slope = slopes[i];
  return probes;
}

torch::Tensor direction(std::uint64_t seed, std::int64_t layer, Role role, std::int64_t expert, at::IntArrayRef shape) {
  const auto generator = at::detail::createCPUGenerator(tensor_seed(seed, layer, role, expert));
  return torch::randn(shape, generator, torch::kFloat);
}

torch::Tensor estimated_gradient(const std::vector<Probe>& probes, std::int64_t layer, Role role, std::int64_t expert,
                                 at::IntArrayRef shape) {
  auto gradient = torch::zeros(shape, torch::kDouble);
  for (const Probe& probe : probes)
    gradient.add_(direction(probe.seed, layer, role, expert, shape).to(torch::kDouble),
                  probe.slope / static_cast<double>(probes.size()));
  return gradient;
}

std::int64_t probed_values(const Model& model, ProbeSpace space) {
  std::int64_t values = 0;
  for (std::int64_t layer = 0; layer < model.layer_count(); ++layer) {
    if (space == ProbeSpace::gates) {
      const Gates gates = unit_gates(model.config().layers[static_cast<std::size_t>(layer)], torch::kCPU);
      for (const torch::Tensor* gate : {&gates.heads, &gates.channels}) values += gate->defined() ? gate->numel() : 0;
      continue;
    }
    const LayerWeights weights = model.layer(layer);
    for (const PlacedTensor& tensor : placed_tensors(weights))
      if (is_probed(weights.config, tensor.role, tensor.part, tensor.expert)) values += tensor.value.numel();
  }
  return values;
}

double relative_error(std::int64_t values, std::int64_t probes) {
  return std::sqrt(static_cast<double>(values + 1) / static_cast<double>(probes));
}

bool is_probed(const LayerConfig& layer, Role role, Part part, std::int64_t expert) {
  if (part != Part::weight) return false;
  LayerSlice slice;
  if (layer.attention) slice.kv_heads = KeptUnits{.of = layer.attention->kv_heads, .kept = {0}};
  if (layer.mlp) slice.channels = {KeptUnits{.of = layer.mlp->intermediate, .kept = {0}}};
  return tensor_cut(layer, slice, role, part, expert).has_value();
}

double loss_along(const Model& model, const torch::Tensor& ids, ProbeSpace space, std::uint64_t seed, double step) {
  return loss_with(model, ids, [&](std::int64_t layer) {
    const auto move = space == ProbeSpace::weights ? moved_weights : moved_gates;
    return move(model.layer(layer), layer, seed, step);
  });
}

double mean_loss(const Model& model, const torch::Tensor& ids) {
  return loss_with(model, ids, [&](std::int64_t layer) { return model.layer(layer); });
}

}  // namespace streamline
