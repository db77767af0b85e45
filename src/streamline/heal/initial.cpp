// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/initial.h"

#include <algorithm>

#include "streamline/arch/expected_tensors.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

void check_start(const Replacement& replacement, Start start) {
  if (std::ranges::find(replacement.starts, start) != replacement.starts.end()) return;
  std::string known;
  for (const Start other : replacement.starts) known += (known.empty() ? "" : ", ") + std::string(start_name(other));
  fail(ErrorKind::usage, "'", replacement.name, "' cannot start as '", start_name(start), "'; it can as ", known);
}

void inherit(const LayerWeights& source, LayerWeights& weights) {
  for (const PlacedTensor& tensor : placed_tensors(source)) {
    if (tensor.expert >= static_cast<std::int64_t>(weights.experts.size())) continue;
    TensorsByRole& tensors =
        tensor.expert < 0 ? weights.tensors : weights.experts[static_cast<std::size_t>(tensor.expert)];
    const auto found = tensors.find(tensor.role);
    if (found == tensors.end()) continue;
    torch::Tensor& mine = tensor.part == Part::weight ? found->second.weight : found->second.bias;
    if (mine.defined() && mine.sizes() == tensor.value.sizes()) mine.copy_(tensor.value);
  }
}

// All but the norms.
void randomise(const Config& config, LayerWeights& weights, Rng& rng) {
  for (const PlacedTensor& tensor : placed_tensors(weights)) {
    if (is_norm_role(tensor.role)) continue;
    torch::Tensor value = tensor.value;
    if (value.dim() >= 2)  // a matrix, or a stack of them
      value.copy_(normal_tensor(value.sizes().vec(), initializer_range(config), rng));
    else
      value.zero_();
  }
}

}  // namespace

double initializer_range(const Config& config) {
  return json_number(config.json, "initializer_range", "config.json").value_or(0.02);
}

torch::Tensor normal_tensor(const std::vector<std::int64_t>& shape, double deviation, Rng& rng) {
  auto tensor = torch::empty(shape, torch::kFloat32);
  std::span values(tensor.data_ptr<float>(), static_cast<std::size_t>(tensor.numel()));
  for (float& value : values) value = static_cast<float>(deviation * rng.normal());
  return tensor;
}

LayerConfig layer_shape(const Config& model, std::int64_t first) {
  return model.layers.at(static_cast<std::size_t>(first));
}

LayerWeights layer_copy(const Model& model, std::int64_t first, Rng&) {
  return copy_to(model.layer(first), torch::kCPU, torch::kFloat32);
}

LayerWeights random_weights(const Config& model, const LayerConfig& shape, Rng& rng) {
  LayerWeights weights{.config = shape, .tensors = {}};
  for (const ExpectedTensor& tensor : layer_tensors(model, shape, 0)) {
    const bool norm = is_norm_role(tensor.role) && tensor.part == Part::weight;
    place(weights, tensor.role, tensor.part, tensor.expert) =
        torch::full(tensor.shape, norm ? 1 - model.family->traits.norm_offset : 0);
  }
  randomise(model, weights, rng);
  return weights;
}

void zero_output(const Config& config, LayerWeights& weights) {
  for (const PlacedTensor& tensor : placed_tensors(weights)) {
    torch::Tensor value = tensor.value;
    const bool of_mlp =
        tensor.role == Role::down || tensor.role == Role::shared_down || tensor.role == Role::stacked_down;
    if ((of_mlp && !weights.has(Role::mlp_post_norm)) ||
        (tensor.role == Role::o && !weights.has(Role::attention_post_norm)))
      value.zero_();
    if (tensor.role == Role::mlp_post_norm || tensor.role == Role::attention_post_norm)
      value.fill_(tensor.part == Part::weight ? -config.family->traits.norm_offset : 0);
  }
}

LayerWeights initial_weights(const Replacement& replacement, const Model& model, std::int64_t first, Start start,
                             Rng& rng) {
  check_start(replacement, start);
  LayerWeights weights = replacement.initial(model, first, rng);
  if (start == replacement.starts.front()) return weights;
  switch (start) {
    case Start::zero:
      zero_output(model.config(), weights);
      break;
    case Start::random:
      randomise(model.config(), weights, rng);
      break;
    case Start::inherit:
    case Start::closed_form:
      inherit(model.layer(first), weights);
      break;
  }
  return weights;
}

}  // namespace streamline
