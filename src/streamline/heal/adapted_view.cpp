// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/adapted_view.h"

#include <algorithm>

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
    adapter.layer = is_attention_role(adapter.role) ? layer.source : layer.mlp_source;
    of_source.push_back(std::move(adapter));
  }
  adapters.list = std::move(of_source);
  return source.changed(merging(std::move(adapters))).view(plan, replacements);
}

}  // namespace streamline
