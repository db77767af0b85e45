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

// A layer moved along a direction, and against it.
struct MovedLayer {
  LayerWeights above, below;
};

MovedLayer moved_weights(const LayerWeights& weights, std::int64_t layer, std::uint64_t seed, double eps) {
  MovedLayer moved{weights, weights};
  for (const PlacedTensor& tensor : placed_tensors(weights)) {
    if (!is_probed(weights.config, tensor.role, tensor.part, tensor.expert)) continue;
    const auto along = direction(seed, layer, tensor.role, tensor.expert, tensor.value.sizes())
                           .to(tensor.value.device(), tensor.value.scalar_type());
    place(moved.above, tensor.role, tensor.part, tensor.expert) = tensor.value.add(along, eps);
    place(moved.below, tensor.role, tensor.part, tensor.expert) = tensor.value.add(along, -eps);
  }
  return moved;
}

MovedLayer moved_gates(const LayerWeights& weights, std::int64_t layer, std::uint64_t seed, double eps) {
  MovedLayer moved{weights, weights};
  const Gates ones = unit_gates(weights.config, weights.all().front().options());
  const auto move = [&](torch::Tensor Gates::*part, Role role) {
    const torch::Tensor& gate = ones.*part;
    if (!gate.defined()) return;
    const auto along = direction(seed, layer, role, kNoExpert, gate.sizes()).to(gate.device(), gate.scalar_type());
    moved.above.gates.*part = gate.add(along, eps);
    moved.below.gates.*part = gate.add(along, -eps);
  };
  move(&Gates::heads, Role::o);
  move(&Gates::channels, Role::down);
  return moved;
}

// Of x, [batch, seq, hidden], which enters layer `first`.
double mean_loss_from(const Model& model, std::int64_t first, const torch::Tensor& x, const torch::Tensor& ids) {
  return Tail(model, first).next_token(x, ids, /*gradient=*/false).sum /
         static_cast<double>(ids.size(0) * (ids.size(1) - 1));
}

}  // namespace

double central_slope(const EndLosses& losses, double eps) { return (losses.above - losses.below) / (2 * eps); }

std::vector<Probe> probe_slopes(const LossesAlong& losses, std::int64_t count, double eps, std::uint64_t seed,
                                const Ranks& ranks) {
  Rng rng(seed);
  std::vector<Probe> probes;
  std::vector<double> slopes(static_cast<std::size_t>(count));  // each of one rank, and 0 elsewhere
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint64_t along = rng.next();
    probes.push_back({.seed = along});
    if (ranks.takes(i)) slopes[static_cast<std::size_t>(i)] = central_slope(losses(along, eps), eps);
  }
  ranks.sum(slopes);
  for (std::size_t i = 0; i < probes.size(); ++i) probes[i].slope = slopes[i];
  return probes;
}

torch::Tensor direction(std::uint64_t seed, std::int64_t layer, Role role, std::int64_t expert, at::IntArrayRef shape) {
  const auto generator = at::detail::createCPUGenerator(tensor_seed(seed, layer, role, expert));
  return torch::randn(shape, generator, torch::kFloat);
}

Halved<torch::Tensor> estimated_gradient(const std::vector<Probe>& probes, std::int64_t layer, Role role,
                                         std::int64_t expert, at::IntArrayRef shape) {
  const auto zeros = [&] { return torch::zeros(shape, torch::kDouble); };
  Halved<torch::Tensor> gradient{.all = zeros(), .first = zeros(), .second = zeros()};
  const std::size_t half = probes.size() / 2;
  for (std::size_t i = 0; i < probes.size(); ++i) {
    const auto along = direction(probes[i].seed, layer, role, expert, shape).to(torch::kDouble);
    const auto add = [&](torch::Tensor& mean, std::size_t count) {
      mean.add_(along, probes[i].slope / static_cast<double>(count));
    };
    add(gradient.all, probes.size());
    i < half ? add(gradient.first, half) : add(gradient.second, probes.size() - half);
  }
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

double mean_loss(const Model& model, const torch::Tensor& ids) {
  const torch::NoGradGuard no_grad;
  check_interrupted();
  return translating_errors([&] { return mean_loss_from(model, 0, model.embed(ids), ids); });
}

EndLosses losses_along(const Model& model, const torch::Tensor& ids, ProbeSpace space, std::uint64_t seed, double eps) {
  const torch::NoGradGuard no_grad;
  const auto move = space == ProbeSpace::weights ? moved_weights : moved_gates;
  return translating_errors([&] {
    const Positions positions = rope_positions(model.config(), 0, ids.size(1), ids.device());
    torch::Tensor above = model.embed(ids), below = above;
    for (std::int64_t layer = 0; layer < model.layer_count(); ++layer) {
      check_interrupted();
      const MovedLayer moved = move(model.layer(layer), layer, seed, eps);
      above = block_forward(model.config(), moved.above, above, positions);
      below = block_forward(model.config(), moved.below, below, positions);
    }
    const std::int64_t end = model.layer_count();
    return EndLosses{.above = mean_loss_from(model, end, above, ids), .below = mean_loss_from(model, end, below, ids)};
  });
}

}  // namespace streamline
