// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/adapters.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "streamline/base/error.h"

namespace streamline {
namespace {

const std::vector<Role> kMlpRoles = {Role::gate_up, Role::gate, Role::up, Role::down};
const std::vector<Role> kAttentionRoles = {Role::qkv, Role::q, Role::k, Role::v, Role::o};

const std::vector<Role> kNormRoles = {
    Role::attention_norm, Role::attention_post_norm, Role::mlp_norm, Role::mlp_post_norm, Role::q_norm, Role::k_norm};

// m (W + scale B A) / |W + scale B A|, row by row, in fp32 and rounded to W's type. On the way back the length counts
// as a constant (arXiv 2402.09353, section 4.3). A row of zeros, which has no direction, stays one.
torch::Tensor with_magnitude(const torch::Tensor& weight, const Adapter& adapter, double scale) {
  const auto direction = torch::addmm(weight.to(torch::kFloat32), adapter.b, adapter.a, 1, scale);
  const auto length = direction.detach().norm(2, 1).clamp_min(1e-30);
  return ((adapter.magnitude / length).unsqueeze(1) * direction).to(weight.scalar_type());
}

torch::Tensor uniform_matrix(std::int64_t rows, std::int64_t columns, double bound, Rng& rng) {
  auto matrix = torch::empty({rows, columns}, torch::kFloat32);
  std::span values(matrix.data_ptr<float>(), static_cast<std::size_t>(rows * columns));
  for (float& value : values) value = static_cast<float>(bound * (2 * rng.uniform() - 1));
  return matrix;
}

void check(const AdapterOptions& options, std::int64_t hidden) {
  if (options.rank < 1) fail(ErrorKind::usage, "adapters of rank ", options.rank, "; at least 1 is needed");
  if (options.rank > hidden && options.kind != AdapterKind::norms)
    fail(ErrorKind::usage, "adapters of rank ", options.rank, "; the model's matrices have rank ", hidden, " at most");
  if (!(options.dropout >= 0 && options.dropout < 1))
    fail(ErrorKind::usage, "a dropout of ", options.dropout, " is outside [0, 1)");
  if (!(options.alpha >= 0)) fail(ErrorKind::usage, "an alpha of ", options.alpha, "; expected a positive number");
}

// Those that are there, of an adapter that may be constant.
template <class AnyAdapter>
auto defined_tensors(AnyAdapter& adapter) {
  std::vector<decltype(&adapter.a)> all;
  for (auto* tensor : {&adapter.a, &adapter.b, &adapter.magnitude, &adapter.norm})
    if (tensor->defined()) all.push_back(tensor);
  return all;
}

}  // namespace

std::vector<torch::Tensor*> Adapter::tensors() { return defined_tensors(*this); }

std::vector<const torch::Tensor*> Adapter::tensors() const { return defined_tensors(*this); }

std::int64_t Adapters::parameters() const {
  std::int64_t count = 0;
  for (const Adapter& adapter : list)
    for (const torch::Tensor* tensor : adapter.tensors()) count += tensor->numel();
  return count;
}

std::vector<Role> parse_adapter_roles(const std::vector<std::string>& names) {
  std::vector<Role> roles;
  const auto add = [&](const std::vector<Role>& more) { roles.insert(roles.end(), more.begin(), more.end()); };
  for (const std::string& name : names) {
    const auto role = parse_role(name);
    const auto is = [&](const std::vector<Role>& known) { return role && std::ranges::count(known, *role) > 0; };
    if (name == "mlp" || name == "all") add(kMlpRoles);
    if (name == "attention" || name == "all") add(kAttentionRoles);
    if (is(kMlpRoles) || is(kAttentionRoles))
      add({*role});
    else if (name != "mlp" && name != "attention" && name != "all")
      fail(ErrorKind::usage, "'", name,
           "' is no matrix that takes an adapter; expected mlp, attention, all, or some of ",
           "q, k, v, qkv, o, gate, up, gate_up, down");
  }
  return roles;
}

Adapters initial_adapters(const Model& model, const AdapterOptions& options, Rng& rng) {
  check(options, model.config().hidden);
  Adapters adapters{.options = options};
  const bool norms = options.kind == AdapterKind::norms;
  if (norms)
    adapters.options.roles = kNormRoles;
  else if (adapters.options.roles.empty())
    adapters.options.roles = kMlpRoles;
  std::int64_t zeros = 0, all = 0;
  for (std::int64_t layer = 0; layer < model.layer_count(); ++layer) {
    const LayerWeights weights = model.layer(layer, Model::Use::once);
    for (const auto& [role, tensors] : weights.tensors) {
      if (std::ranges::count(adapters.options.roles, role) == 0 || !tensors.weight.defined()) continue;
      Adapter& adapter = adapters.list.emplace_back();
      adapter.layer = layer;
      adapter.role = role;
      const auto weight = tensors.weight.cpu().to(torch::kFloat32, /*non_blocking=*/false, /*copy=*/true);
      if (norms) {
        adapter.norm = weight;
        continue;
      }
      all += weight.numel();
      zeros += weight.numel() - weight.count_nonzero().item<std::int64_t>();
      const std::int64_t out = weight.size(0), in = weight.size(1);
      adapter.a = uniform_matrix(options.rank, in, 1 / std::sqrt(static_cast<double>(in)), rng);
      adapter.b = torch::zeros({out, options.rank}, torch::kFloat32);
      if (options.kind == AdapterKind::dora) adapter.magnitude = weight.norm(2, 1);
    }
  }
  if (all > 0) adapters.zeros = static_cast<double>(zeros) / static_cast<double>(all);
  std::erase_if(adapters.options.roles, [&](Role role) {
    return std::ranges::none_of(adapters.list, [&](const Adapter& adapter) { return adapter.role == role; });
  });
  if (adapters.list.empty())
    fail(ErrorKind::usage, model.checkpoint().label(), ": no layer has a matrix of that name that takes an adapter",
         " (those of experts take none; try attention)");
  return adapters;
}

void attach(const Adapters& adapters, std::int64_t layer, std::uint64_t seed, LayerWeights& weights) {
  for (std::size_t i = 0; i < adapters.list.size(); ++i) {
    const Adapter& adapter = adapters.list[i];
    if (adapter.layer != layer) continue;
    RoleTensors& tensors = weights.tensors.at(adapter.role);
    if (adapter.norm.defined()) {
      tensors.weight = adapter.norm.to(tensors.weight.scalar_type());
      continue;
    }
    if (adapter.magnitude.defined()) {
      tensors.weight = with_magnitude(tensors.weight, adapter, adapters.options.scale());
      continue;
    }
    tensors.low_rank = {.a = adapter.a,
                        .b = adapter.b,
                        .scale = adapters.options.scale(),
                        .dropout = seed == 0 ? 0 : adapters.options.dropout,
                        .seed = Rng(seed + i).next()};
  }
}

std::shared_ptr<const WeightChange> merging(Adapters adapters) {
  std::map<std::pair<std::int64_t, Role>, Adapter> updates;
  const double scale = adapters.options.scale();
  for (const Adapter& adapter : adapters.list) updates[{adapter.layer, adapter.role}] = adapter;
  auto shared = std::make_shared<const decltype(updates)>(std::move(updates));
  return std::make_shared<const WeightChange>(
      WeightChange{.touches =
                       [shared](std::int64_t layer, Role role, std::int64_t expert) {
                         return expert < 0 && shared->count({layer, role}) != 0;
                       },
                   .apply =
                       [shared, scale](std::int64_t layer, Role role, std::int64_t, const torch::Tensor& stored) {
                         const torch::NoGradGuard no_grad;
                         const Adapter& adapter = shared->at({layer, role});
                         if (adapter.norm.defined()) return adapter.norm.to(stored.scalar_type());
                         if (adapter.magnitude.defined()) return with_magnitude(stored, adapter, scale);
                         return merged(stored, {.a = adapter.a, .b = adapter.b, .scale = scale});
                       }});
}

}  // namespace streamline
