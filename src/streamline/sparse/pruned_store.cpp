// SPDX-License-Identifier: Apache-2.0
#include "streamline/sparse/pruned_store.h"

#include "streamline/base/error.h"
#include "streamline/base/parse_number.h"
#include "streamline/heal/train_state.h"
#include "streamline/nn/kept_bits.h"

namespace streamline::sparse {
namespace {

// "q", or "7.gate" of an expert.
std::string place_name(const MatrixPlace& place) {
  const std::string role(role_name(place.role));
  return place.expert < 0 ? role : std::to_string(place.expert) + "." + role;
}

MatrixPlace parse_place(const std::string& name, const std::string& where) {
  const std::size_t dot = name.find('.');
  const auto role = parse_role(dot == std::string::npos ? name : name.substr(dot + 1));
  const auto expert = dot == std::string::npos ? std::optional<std::int64_t>(-1)
                                               : parse_number<std::int64_t>(std::string_view(name).substr(0, dot));
  if (!role || !expert) fail(ErrorKind::format, where, ": '", name, "' is no matrix of a layer");
  return {*role, *expert};
}

torch::Tensor restored(const torch::Tensor& stored, const torch::Tensor& bits, const std::string& what) {
  if (!stored.defined() || bits.scalar_type() != torch::kByte || bits.numel() != bytes_of_bits(stored))
    fail(ErrorKind::format, what, ": this does not say which weights of the matrix stay; delete the file");
  return with_kept(stored, bits);
}

}  // namespace

std::filesystem::path PrunedStore::file(std::int64_t layer) const {
  return folder_ / ("layer-" + std::to_string(layer) + ".safetensors");
}

bool PrunedStore::has(std::int64_t layer) const { return !this->layer(layer).empty(); }

void PrunedStore::look_up(std::int64_t layer) const {
  if (layer == last_) return;
  last_ = -1;
  matrices_.clear();
  notes_ = Json::object();
  const std::filesystem::path path = file(layer);
  if (const auto state = load_train_state(path, run_)) {
    for (const auto& [name, tensor] : state->tensors) {
      const MatrixPlace place = parse_place(name, path.string());
      matrices_[place] = unpruned_ ? restored(unpruned_(layer, place), tensor, path.string() + ": " + name) : tensor;
    }
    notes_ = state->progress;
  }
  if (!matrices_.empty()) last_ = layer;
}

PrunedMatrices PrunedStore::layer(std::int64_t layer) const {
  const std::lock_guard lock(mutex_);
  look_up(layer);
  return matrices_;
}

torch::Tensor PrunedStore::matrix(std::int64_t layer, const MatrixPlace& place) const {
  const std::lock_guard lock(mutex_);
  look_up(layer);
  const auto found = matrices_.find(place);
  return found == matrices_.end() ? torch::Tensor() : found->second;
}

Json PrunedStore::notes(std::int64_t layer) const {
  const std::lock_guard lock(mutex_);
  look_up(layer);
  return notes_;
}

void PrunedStore::put(std::int64_t layer, const PrunedMatrices& matrices, const Json& notes) {
  TrainState state{.run = run_, .progress = notes};
  for (const auto& [place, tensor] : matrices)
    state.tensors.emplace_back(place_name(place), unpruned_ ? kept_bits(tensor) : tensor);
  save_train_state(state, file(layer), durable_);
  const std::lock_guard lock(mutex_);
  last_ = layer;
  matrices_ = matrices;
  notes_ = notes;
}

std::shared_ptr<const WeightChange> PrunedStore::change(const std::shared_ptr<const PrunedStore>& store) {
  auto change = std::make_shared<WeightChange>();
  change->touches = [store](std::int64_t layer, Role role, std::int64_t expert) {
    return store->matrix(layer, {role, expert}).defined();
  };
  change->apply = [store](std::int64_t layer, Role role, std::int64_t expert, const torch::Tensor& stored) {
    const torch::Tensor pruned = store->matrix(layer, {role, expert});
    if (pruned.sizes() != stored.sizes())
      fail(ErrorKind::mismatch, "layer ", layer, ": ", role_name(role), " was pruned in another shape");
    return pruned.to(stored.scalar_type());
  };
  return change;
}

}  // namespace streamline::sparse
