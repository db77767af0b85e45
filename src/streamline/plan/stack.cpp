// SPDX-License-Identifier: Apache-2.0
#include "streamline/plan/stack.h"

#include "streamline/base/error.h"
#include "streamline/plan/slice.h"

namespace streamline {

namespace {

const LayerConfig& source_layer(const Config& config, std::int64_t layer) {
  SL_ASSERT(layer >= 0 && layer < config.layer_count());
  return config.layers[static_cast<std::size_t>(layer)];
}

void check_halves(const Config& config, const OutputLayer& layer) {
  if (layer.replaced || layer.whole()) return;
  const LayerConfig& source = source_layer(config, layer.source);
  const std::string half = layer.attention ? "MLP" : "attention";
  if (!source.attention || !source.mlp)
    fail(ErrorKind::mismatch, "plan: the ", half, " of layer ", layer.source,
         " cannot be dropped: that layer has no two halves");
  if (source.residual == Residual::norm_after_sum)
    fail(ErrorKind::unsupported, "plan: the ", half, " of layer ", layer.source,
         " cannot be dropped: in this model a norm follows the sum and would stay; drop whole layers");
}

// Without the halves that the source's own layers lack (LayerConfig::partial).
OutputLayer with_its_halves(const Config& config, OutputLayer layer) {
  const LayerConfig& source = source_layer(config, layer.source);
  if (layer.replaced || !source.partial) return layer;
  layer.attention = layer.attention && source.attention.has_value();
  layer.mlp = layer.mlp && source.mlp.has_value();
  return layer;
}

bool may_join(const Config& config, const OutputLayer& first, const OutputLayer& second) {
  if (first.replaced || second.replaced || first.mlp || second.attention) return false;
  const LayerConfig& above = source_layer(config, second.mlp_source);
  return source_layer(config, first.source).residual == Residual::sequential &&
         above.residual == Residual::sequential && !above.mlp->shared_norm;
}

}  // namespace

std::vector<OutputLayer> output_layers(const Config& config, const Plan& plan) {
  SL_ASSERT(plan.base.layers == config.layer_count());
  check_slices(config, plan);
  std::vector<OutputLayer> layers;
  for (const OutputLayer& planned : lower(plan)) {
    check_halves(config, planned);
    const OutputLayer layer = with_its_halves(config, planned);
    if (!layer.replaced && !layer.attention && !layer.mlp) continue;
    if (!layers.empty() && may_join(config, layers.back(), layer)) {
      layers.back().mlp = true;
      layers.back().mlp_source = layer.mlp_source;
      layers.back().slice.channels = layer.slice.channels;
    } else {
      layers.push_back(layer);
    }
  }
  if (layers.empty()) fail(ErrorKind::mismatch, "plan: none of the layers that are left has an attention or an MLP");
  return layers;
}

LayerConfig layer_config(const Config& config, const OutputLayer& layer) {
  SL_ASSERT(!layer.replaced);
  LayerConfig result = source_layer(config, layer.source);
  if (!layer.attention) result.attention.reset();
  result.mlp = layer.mlp ? source_layer(config, layer.mlp_source).mlp : std::nullopt;
  result.partial = result.partial && !result.whole();
  return sliced_layer(result, layer.slice);
}

}  // namespace streamline
