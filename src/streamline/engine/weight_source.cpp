// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/weight_source.h"

#include <algorithm>

#include "streamline/engine/mapped.h"
#include "streamline/engine/memory.h"
#include "streamline/nn/linear.h"
#include "streamline/nn/norms.h"

namespace streamline {
namespace {

std::uint64_t size_in_bytes(const LayerWeights& weights) {
  std::uint64_t total = 0;
  for (const auto& tensor : weights.all()) total += tensor.nbytes();
  return total;
}

// Rows of length one (Baichuan 2's head).
torch::Tensor row_normalised(const torch::Tensor& matrix) {
  const auto wide = matrix.to(accumulation_type(matrix.scalar_type()));
  return (wide / wide.norm(2, -1, /*keepdim=*/true).clamp_min(1e-12)).to(matrix.scalar_type());
}

}  // namespace

void for_each_role(const LayerConfig& layer, const std::function<void(Role role, std::int64_t expert)>& visit) {
  for (int i = static_cast<int>(kFirstLayerRole); i <= static_cast<int>(kLastRole); ++i)
    visit(static_cast<Role>(i), -1);
  const bool apart = layer.mlp && layer.mlp->experts && !layer.mlp->experts->stacked;
  const std::int64_t experts = apart ? layer.mlp->experts->count : 0;
  for (std::int64_t expert = 0; expert < experts; ++expert)
    for (const Role role : {Role::gate, Role::up, Role::down}) visit(role, expert);
}

WeightSource::WeightSource(std::shared_ptr<const Checkpoint> checkpoint, Config config, Placement placement,
                           std::shared_ptr<const WeightChange> change)
    : checkpoint_(std::move(checkpoint)),
      config_(std::move(config)),
      placement_(placement),
      limit_(conversion_cache(placement)),
      change_(std::move(change)) {}

const TensorInfo* WeightSource::info(std::int64_t layer, Role role, Part part, std::int64_t expert) const {
  return find_tensor(*checkpoint_, config_, layer, role, part, expert);
}

bool WeightSource::changes(std::int64_t layer, Role role, std::int64_t expert) const {
  return change_ && layer >= 0 && change_->touches(layer, role, expert);
}

// Whether what is computed with takes memory of its own.
bool WeightSource::converts(std::int64_t layer, Role role) const {
  if (changes(layer, role)) return true;
  const TensorInfo* weight = info(layer, role, Part::weight);
  return weight == nullptr || !weight->is_plain() || mapped_type(*weight) != placement_.dtype ||
         !placement_.device.is_cpu();
}

torch::Tensor WeightSource::stored(std::int64_t layer, Role role, Part part, std::int64_t expert) const {
  const TensorInfo* found = info(layer, role, part, expert);
  if (!found) return {};
  const bool changed = part == Part::weight && changes(layer, role, expert);
  const bool rounds = placement_.device.is_cpu() && !changed;  // what is read anew, into the type that computes
  auto tensor = mapped_tensor(checkpoint_, *found, rounds ? placement_.dtype : torch::kFloat);
  if (is_transposed(config_, layer, role, part)) tensor = tensor.t();
  return changed ? change_->apply(layer, role, expert, tensor) : tensor;
}

torch::Tensor WeightSource::placed(std::int64_t layer, Role role, Part part, std::int64_t expert) const {
  const auto tensor = stored(layer, role, part, expert);
  return tensor.defined() ? tensor.to(placement_.device, placement_.dtype) : tensor;
}

bool WeightSource::keep(std::uint64_t bytes) const {
  if (bytes > limit_ - std::min(limit_, kept_)) return false;
  kept_ += bytes;
  return true;
}

bool WeightSource::can_keep(Role role, std::uint64_t bytes) const {
  const std::lock_guard lock(mutex_);
  return globals_.count(role) != 0 || bytes <= limit_ - std::min(limit_, kept_);
}

LayerWeights WeightSource::load_layer(std::int64_t index) const {
  LayerWeights weights;
  weights.config = config_.layers[static_cast<std::size_t>(index)];
  for_each_role(weights.config, [&](Role role, std::int64_t expert) {
    for (const Part part : {Part::weight, Part::bias})
      if (auto tensor = placed(index, role, part, expert); tensor.defined())
        place(weights, role, part, expert) = std::move(tensor);
  });
  return weights;
}

LayerWeights WeightSource::layer(std::int64_t index, bool keeps) const {
  const std::lock_guard lock(mutex_);
  if (const auto found = layers_.find(index); found != layers_.end()) return found->second;
  LayerWeights weights = load_layer(index);
  if (!keeps) return weights;
  bool converted = false;
  for (const auto& [role, tensors] : weights.tensors) converted |= converts(index, role);
  if (converted && keep(size_in_bytes(weights))) layers_[index] = weights;
  return weights;
}

void WeightSource::forget_layers() const {
  const std::lock_guard lock(mutex_);
  for (const auto& [index, weights] : layers_) kept_ -= size_in_bytes(weights);
  layers_.clear();
}

RoleTensors WeightSource::global(Role role) const {
  const std::lock_guard lock(mutex_);
  if (const auto found = globals_.find(role); found != globals_.end()) return found->second;
  RoleTensors tensors = {placed(-1, role, Part::weight), placed(-1, role, Part::bias)};
  if (tensors.weight.defined() && converts(-1, role) && keep(tensors.weight.nbytes())) globals_[role] = tensors;
  return tensors;
}

RoleTensors WeightSource::head_rows(std::int64_t first, std::int64_t count) const {
  const TensorInfo& head = *info(-1, Role::head, Part::weight);
  const std::uint64_t converted = static_cast<std::uint64_t>(head.elements()) * torch::elementSize(placement_.dtype);
  RoleTensors result;
  if (!converts(-1, Role::head) || can_keep(Role::head, converted)) {
    result = rows(global(Role::head), first, count);
  } else {
    const auto bias = stored(-1, Role::head, Part::bias);
    result.weight = head.is_plain() ? mapped_tensor(checkpoint_, head).narrow(0, first, count)
                                    : mapped_rows(checkpoint_, head, torch::arange(first, first + count, torch::kLong));
    if (bias.defined()) result.bias = bias.narrow(0, first, count);
    for (torch::Tensor* tensor : {&result.weight, &result.bias})
      if (tensor->defined()) *tensor = tensor->to(placement_.device, placement_.dtype);
  }
  if (config_.normalised_head) result.weight = row_normalised(result.weight);
  return result;
}

std::uint64_t WeightSource::head_bytes() const {
  if (!config_.normalised_head && !converts(-1, Role::head)) return 0;
  const TensorInfo& weight = *info(-1, Role::head, Part::weight);
  return static_cast<std::uint64_t>(weight.elements()) * torch::elementSize(placement_.dtype);
}

}  // namespace streamline
