// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/adapted_view.h"

#include <algorithm>

#include "streamline/arch/layer_slice.h"
#include "streamline/arch/role.h"
#include "streamline/base/error.h"
#include "streamline/nn/low_rank.h"
#include "streamline/plan/stack.h"

namespace streamline {
namespace {

// Replacements may be shared with others: their tensors are never written into.
void merge_into(LayerWeights& weights, const Adapter& adapter, double scale) {
  const torch::NoGradGuard no_grad;
  torch::Tensor& matrix = weights.tensors.at(adapter.role).weight;
  matrix = merged(matrix, {.a = adapter.a, .b = adapter.b, .scale = scale});
}

// Of a sliced layer's matrix to the source's: nothing is added to what went.
void spread(const Config& config, const OutputLayer& layer, Adapter& adapter) {
  LayerConfig from = config.layers[static_cast<std::size_t>(layer.source)];
  from.mlp = config.layers[static_cast<std::size_t>(layer.mlp_source)].mlp;
  const auto cut = tensor_cut(from, layer.slice, adapter.role, Part::weight);
  if (!cut) return;
  const auto width = std::ssize(tensor_cut(from, whole_slice(from), adapter.role, Part::weight)->indices);
  const auto places = torch::tensor(cut->indices, torch::kLong).to(adapter.a.device());
  if (cut->dimension == 0)
    adapter.b = torch::zeros({width, adapter.b.size(1)}, adapter.b.options()).index_copy(0, places, adapter.b.detach());
  else
    adapter.a = torch::zeros({adapter.a.size(0), width}, adapter.a.options()).index_copy(1, places, adapter.a.detach());
}

}  // namespace

Model adapted_view(const Model& source, const Plan& plan, Replacements replacements, Adapters adapters) {
  const std::vector<OutputLayer> layers = output_layers(source.config(), plan);
  const double scale = adapters.options.scale();
  std::vector<Adapter> of_source;
  for (Adapter& adapter : adapters.list) {
    SL_ASSERT(adapter.layer < std::ssize(layers));
    const OutputLayer& layer = layers[static_cast<std::size_t>(adapter.layer)];
    if (layer.replaced) {
      merge_into(replacements.at(layer.segment), adapter, scale);
      continue;
    }
    spread(source.config(), layer, adapter);
    adapter.layer = is_attention_role(adapter.role) ? layer.source : layer.mlp_source;
    of_source.push_back(std::move(adapter));
  }
  adapters.list = std::move(of_source);
  return source.changed(merging(std::move(adapters))).view(plan, replacements);
}

}  // namespace streamline
