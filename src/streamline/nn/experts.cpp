// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/experts.h"

#include "streamline/base/error.h"
#include "streamline/nn/linear.h"
#include "streamline/nn/mlp.h"
#include "streamline/nn/norms.h"

namespace streamline {
namespace {

// Positions in the flattened routing, [tokens * active], with those of one expert side by side, and how many each has.
struct Groups {
  torch::Tensor order;
  std::vector<std::int64_t> counts;
};

Groups group_by_expert(const torch::Tensor& expert, std::int64_t experts) {
  const auto flat = expert.flatten();
  const auto counts = torch::bincount(flat, {}, experts).to(torch::kCPU);
  const auto* data = counts.const_data_ptr<std::int64_t>();
  return {torch::argsort(flat, /*stable=*/true, /*dim=*/0, /*descending=*/false), {data, data + experts}};
}

// Gate and up of one expert above each other, and down, as views of the stacks; [out, in].
TensorsByRole unstacked(const LayerWeights& weights, std::int64_t expert) {
  const auto of = [&](Role role) { return RoleTensors{.weight = weights.at(role).weight.select(0, expert).t()}; };
  return {{Role::gate_up, of(Role::stacked_gate_up)}, {Role::down, of(Role::stacked_down)}};
}

// gates: [intermediate], or undefined.
torch::Tensor network(const MlpConfig& config, const TensorsByRole& weights, const torch::Tensor& x,
                      const torch::Tensor& gates = {}, const InnerTap& tap = {}) {
  if (tap) tap(Role::up, -1, x);
  const auto inner = mlp_inner(config, weights, x);
  if (tap) tap(Role::down, -1, inner);
  return linear(gates.defined() ? inner * gates : inner, at(weights, Role::down));
}

torch::Tensor shared_expert(const LayerWeights& weights, const torch::Tensor& x) {
  const TensorsByRole shared = {{Role::gate, weights.at(Role::shared_gate)},
                                {Role::up, weights.at(Role::shared_up)},
                                {Role::down, weights.at(Role::shared_down)}};
  const InnerTap tap = !weights.tap ? InnerTap() : [&](Role role, std::int64_t, const torch::Tensor& inner) {
    weights.tap(role == Role::up ? Role::shared_up : Role::shared_down, -1, inner);
  };
  const auto out = network(*weights.config.mlp, shared, x, {}, tap);
  if (!weights.config.mlp->experts->shared_routed) return out;
  return torch::sigmoid(linear(x, weights.at(Role::shared_router))) * out;
}

}  // namespace

Routing route(const ExpertsConfig& config, const RoleTensors& router, const torch::Tensor& x) {
  const auto logits = linear(x, router);  // [tokens, experts]
  if (config.scales_input) {
    const auto [best, expert] = logits.topk(config.active, -1);
    return {expert, torch::sigmoid(best.to(accumulation_type(x.scalar_type())))};
  }
  const auto shares = torch::softmax(logits, -1, accumulation_type(x.scalar_type()));
  auto [best, expert] = shares.topk(config.active, -1);
  if (config.renormalised) best = best / best.sum(-1, /*keepdim=*/true);
  return {expert, best};
}

torch::Tensor experts_forward(const LayerWeights& weights, const torch::Tensor& x) {
  const MlpConfig& mlp = *weights.config.mlp;
  const ExpertsConfig& config = *mlp.experts;
  SL_ASSERT(config.stacked || static_cast<std::int64_t>(weights.experts.size()) == config.count);
  MlpConfig one = mlp;
  if (config.stacked) one.fused_gate = true;
  const auto tokens = x.reshape({-1, x.size(-1)});  // [tokens, hidden]
  const Routing routing = route(config, weights.at(Role::router), tokens);
  const Groups groups = group_by_expert(routing.expert, config.count);
  const auto shares = routing.share.flatten();
  auto sum = config.shared > 0 ? shared_expert(weights, tokens) : torch::zeros_like(tokens);
  std::int64_t first = 0;
  for (std::size_t i = 0; i < groups.counts.size(); first += groups.counts[i++]) {
    if (groups.counts[i] == 0) continue;
    const auto places = groups.order.narrow(0, first, groups.counts[i]);
    const auto rows = torch::floor_divide(places, config.active);  // its tokens
    const auto gates =
        weights.gates.channels.defined() ? weights.gates.channels[static_cast<std::int64_t>(i)] : torch::Tensor();
    const InnerTap tap = !weights.tap ? InnerTap() : [&](Role role, std::int64_t, const torch::Tensor& inner) {
      weights.tap(role, static_cast<std::int64_t>(i), inner);
    };
    const auto share = shares.index_select(0, places).unsqueeze(1);
    auto read = tokens.index_select(0, rows);
    if (config.scales_input) read = (read * share).to(read.scalar_type());
    auto out = config.stacked ? network(one, unstacked(weights, static_cast<std::int64_t>(i)), read, gates, tap)
                              : network(mlp, weights.experts[i], read, gates, tap);
    if (!config.scales_input) out = (out * share).to(sum.scalar_type());
    sum.index_add_(0, rows, out);
  }
  return sum.view_as(x);
}

}  // namespace streamline
