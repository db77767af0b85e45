// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/initial.h"

#include <algorithm>

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

void randomise(const Config& config, LayerWeights& weights, Rng& rng) {
  for (const PlacedTensor& tensor : placed_tensors(weights)) {
    torch::Tensor value = tensor.value;
    if (is_norm_role(tensor.role)) continue;
    if (value.dim() != 2) {
      value.zero_();
      continue;
    }
    value.copy_(normal_matrix(value.size(0), value.size(1), initializer_range(config), rng));
  }
}

}  // namespace

double initializer_range(const Config& config) {
  return json_number(config.json, "initializer_range", "config.json").value_or(0.02);
}

torch::Tensor normal_matrix(std::int64_t rows, std::int64_t columns, double deviation, Rng& rng) {
  auto matrix = torch::empty({rows, columns}, torch::kFloat32);
  std::span values(matrix.data_ptr<float>(), static_cast<std::size_t>(rows * columns));
  for (float& value : values) value = static_cast<float>(deviation * rng.normal());
  return matrix;
}

void zero_output(const Config& config, LayerWeights& weights) {
  const auto post_norm = [&](Role role) { return weights.has(role); };
  for (const PlacedTensor& tensor : placed_tensors(weights)) {
    torch::Tensor value = tensor.value;
    const bool of_mlp = tensor.role == Role::down || tensor.role == Role::shared_down;
    if ((of_mlp && !post_norm(Role::mlp_post_norm)) ||
        (tensor.role == Role::o && !post_norm(Role::attention_post_norm)))
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
