// SPDX-License-Identifier: Apache-2.0
#include "streamline/sparse/pruned_store.h"

#include "streamline/base/error.h"
#include "streamline/heal/train_state.h"

namespace streamline::sparse {

std::filesystem::path PrunedStore::file(std::int64_t layer) const {
  return folder_ / ("layer-" + std::to_string(layer) + ".safetensors");
}

bool PrunedStore::has(std::int64_t layer) const { return !this->layer(layer).empty(); }

PrunedMatrices PrunedStore::layer(std::int64_t layer) const {
  const std::lock_guard lock(mutex_);
  if (layer == last_) return matrices_;
  PrunedMatrices matrices;
  const std::filesystem::path path = file(layer);
  if (const auto state = load_train_state(path, run_))
    for (const auto& [name, tensor] : state->tensors) {
      const std::optional<Role> role = parse_role(name);
      if (!role) fail(ErrorKind::format, path.string(), ": '", name, "' is no matrix of a layer");
      matrices[*role] = tensor;
    }
  if (matrices.empty()) return matrices;
  last_ = layer;
  matrices_ = matrices;
  return matrices;
}

void PrunedStore::put(std::int64_t layer, const PrunedMatrices& matrices) {
  TrainState state{.run = run_};
  for (const auto& [role, tensor] : matrices) state.tensors.emplace_back(role_name(role), tensor);
  save_train_state(state, file(layer));
  const std::lock_guard lock(mutex_);
  last_ = layer;
  matrices_ = matrices;
}

std::shared_ptr<const WeightChange> PrunedStore::change(const std::shared_ptr<const PrunedStore>& store) {
  auto change = std::make_shared<WeightChange>();
  change->touches = [store](std::int64_t layer, Role role) { return store->layer(layer).count(role) != 0; };
  change->apply = [store](std::int64_t layer, Role role, const torch::Tensor& stored) {
    const PrunedMatrices matrices = store->layer(layer);
    const torch::Tensor& pruned = matrices.at(role);
    if (pruned.sizes() != stored.sizes())
      fail(ErrorKind::mismatch, "layer ", layer, ": ", role_name(role), " was pruned in another shape");
    return pruned.to(stored.scalar_type());
  };
  return change;
}

}  // namespace streamline::sparse
