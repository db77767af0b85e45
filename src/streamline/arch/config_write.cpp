// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/config_write.h"

#include <algorithm>
#include <map>

#include "streamline/arch/decilm.h"
#include "streamline/arch/extension.h"
#include "streamline/arch/json_edit.h"
#include "streamline/arch/layer_pattern.h"
#include "streamline/arch/layer_shapes.h"
#include "streamline/arch/multimodal.h"
#include "streamline/arch/rope_json.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

const LayerConfig& source_layer(const Config& source, const LayerOrigin& origin) {
  SL_ASSERT(origin.source >= 0 && origin.source < source.layer_count());
  return source.layers[static_cast<std::size_t>(origin.source)];
}

// The result's extension layers by their index in it.
std::map<std::int64_t, LayerConfig> result_extension(const Config& source, const std::vector<LayerOrigin>& layers) {
  std::map<std::int64_t, LayerConfig> extension;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerConfig& layer = layers[i].extension ? *layers[i].extension : source_layer(source, layers[i]);
    if (!is_ordinary(layer)) extension.emplace(static_cast<std::int64_t>(i), layer);
  }
  return extension;
}

// Lists that loaders derive from a layer's position are made explicit from the source's depth, then sliced, so that a
// surviving layer keeps its own kind of attention wherever it ends up.
void write_layer_types(const Config& source, const std::vector<LayerOrigin>& layers, const LayerPattern& pattern,
                       Json& config) {
  const bool has_list = config.contains("layer_types") && !config.at("layer_types").is_null();
  if (!has_layer_types(*source.family) && !has_list) return;
  Json types = Json::array();
  for (const LayerOrigin& origin : layers)
    types.push_back(layer_type_name(*source.family, pattern.sliding[static_cast<std::size_t>(origin.source)]));
  set_beside(config, "layer_types", types, {"max_window_layers", "sliding_window", "use_sliding_window"});
}

// A period that the surviving layers no longer follow would mislead readers that know no list.
void drop_false_period(const Config& source, const std::vector<LayerOrigin>& layers, const LayerPattern& pattern,
                       Json& config) {
  if (source.family->traits.window != WindowRule::periodic || source.family->keys.window_period.empty()) return;
  std::vector<bool> sliding;
  sliding.reserve(layers.size());
  for (const LayerOrigin& origin : layers) sliding.push_back(pattern.sliding[static_cast<std::size_t>(origin.source)]);
  const std::string key(source.family->keys.window_period);
  for (const std::string& spelling : {key, "_" + key}) {
    const std::int64_t period = json_integer(config, spelling, kConfigFile).value_or(0);
    if (period < 1 || !is_periodic(sliding, period)) config.erase(spelling);
  }
}

void write_unrotated(const Config& source, const std::vector<LayerOrigin>& layers, const LayerPattern& pattern,
                     Json& config) {
  if (source.family->traits.rope != RopeRule::listed) return;
  Json rotated = Json::array();
  for (const LayerOrigin& origin : layers)
    rotated.push_back(pattern.rope[static_cast<std::size_t>(origin.source)] == RopeUse::none ? 0 : 1);
  set_beside(config, "no_rope_layers", rotated, {"no_rope_layer_interval"});
}

void write_experts(const Config& source, const std::vector<LayerOrigin>& layers, const LayerPattern& pattern,
                   Json& config) {
  if (!source.family->experts) return;
  const ExpertsRule& rule = *source.family->experts;
  if (!rule.count_alias.empty())
    for (const auto& [from, to] :
         {std::pair(rule.count_key, rule.count_alias), std::pair(rule.count_alias, rule.count_key)})
      if (const auto count = json_integer(config, from, kConfigFile)) set_beside(config, to, *count, {from});
  if (!rule.dense_layers && !rule.sparse_listed) return;
  Json dense = Json::array(), sparse = Json::array();
  for (std::size_t i = 0; i < layers.size(); ++i)
    (pattern.sparse[static_cast<std::size_t>(layers[i].mlp.value_or(layers[i].source))] ? sparse : dense).push_back(i);
  if (rule.sparse_listed) return set_beside(config, "moe_layers", sparse, {"interleave_moe_layer_step"});
  set_beside(config, "decoder_sparse_step", 1, {});
  set_beside(config, "mlp_only_layers", dense, {"decoder_sparse_step"});
}

// For loaders that know only the threshold: how many surviving layers lay below it.
void write_threshold(const Config& source, const std::vector<LayerOrigin>& layers, Json& config) {
  const Family& family = *source.family;
  const WindowRule rule = family.traits.window;
  if (rule != WindowRule::from_max_window_layers && rule != WindowRule::below_max_window_layers) return;
  const bool windowed = json_bool(config, "use_sliding_window", kConfigFile).value_or(false);
  if (!windowed && !config.contains("max_window_layers")) return;
  const std::int64_t old_threshold = max_window_layers(family, source.json, kConfigFile);
  std::int64_t below = 0;
  for (const LayerOrigin& origin : layers) below += origin.source < old_threshold ? 1 : 0;
  set_beside(config, "max_window_layers", below, {"sliding_window", "use_sliding_window"});
}

void write_max_positions(const Config& source, Json& config) {
  const ConfigKeys& keys = source.family->keys;
  if (!keys.max_positions_alias.empty())
    set_beside(config, keys.max_positions_alias, source.max_positions, {keys.max_positions});
}

// What config.json says of the source's layers together.
ModelWidths config_widths(const Config& source) {
  ModelWidths widths = largest_widths(source.layers);
  const auto read = [&](std::string_view key, std::int64_t& width) {
    const auto value = key.empty() ? std::nullopt : json_integer(source.json, key, kConfigFile);
    if (value && width != 0) width = *value;
  };
  read(source.family->keys.kv_heads, widths.kv_heads);
  read(source.family->keys.intermediate, widths.dense);
  if (source.family->experts) read(source.family->experts->intermediate_key, widths.expert);
  return widths;
}

const AttentionConfig* first_attention(const Config& source) {
  for (const LayerConfig& layer : source.layers)
    if (layer.attention) return &*layer.attention;
  return nullptr;
}

// Where no layer of the result has such a half, the source's number stays.
ModelWidths with_unused(ModelWidths after, const ModelWidths& before) {
  if (after.kv_heads == 0) after.kv_heads = before.kv_heads;
  if (after.dense == 0) after.dense = before.dense;
  if (after.expert == 0) after.expert = before.expert;
  return after;
}

// What a form says of the layers one by one.
void write_shapes(const Config& source, const std::vector<LayerOrigin>& layers, LayerForm form, Json& config) {
  std::vector<LayerConfig> shapes, of_family;
  bool sliced = false;
  for (const LayerOrigin& origin : layers) {
    shapes.push_back(origin.shape ? *origin.shape : source_layer(source, origin));
    sliced |= origin.shape.has_value();
    if (form == LayerForm::decilm) shapes.back() = decilm_layer(shapes.back());
    if (!origin.extension && is_ordinary(shapes.back())) of_family.push_back(shapes.back());
  }
  config.erase("per_layer_config");
  if (form == LayerForm::decilm) return write_decilm(source, shapes, config);
  const ModelWidths before = config_widths(source), after = sliced ? largest_widths(of_family) : before;
  write_widths(*source.family, first_attention(source), before, after, config);
  const Json apart =
      form == LayerForm::per_layer ? per_layer_config(*source.family, with_unused(after, before), shapes) : Json();
  if (!apart.empty()) set_beside(config, "per_layer_config", apart, {source.family->keys.layers});
}

void write_dtype(const Config& source, Json& config) {
  if (source.dtype.empty()) return;
  set_beside(config, "torch_dtype", source.dtype, {"dtype"});
  set_beside(config, "dtype", source.dtype, {"torch_dtype"});
}

}  // namespace

LayerForm layer_form(const Config& config) {
  if (config.family->traits.block_configs) return LayerForm::decilm;
  const ModelWidths widths = largest_widths(config.layers);
  const auto apart = [&](const LayerConfig& layer) {
    if (!is_ordinary(layer)) return false;
    const bool narrow = layer.attention && layer.attention->kv_heads != widths.kv_heads;
    return layer.partial || narrow ||
           (layer.mlp && layer.mlp->intermediate != (layer.mlp->experts ? widths.expert : widths.dense));
  };
  const bool some = std::any_of(config.layers.begin(), config.layers.end(), apart);
  return some ? LayerForm::per_layer : LayerForm::ordinary;
}

Json output_config(const Config& source, const std::vector<LayerOrigin>& layers, const Json& provenance) {
  return output_config(source, layers, provenance, layer_form(source));
}

Json output_config(const Config& source, const std::vector<LayerOrigin>& layers, const Json& provenance,
                   LayerForm form) {
  const std::map<std::int64_t, LayerConfig> extension = result_extension(source, layers);
  Json config = source.json;
  config.erase("_name_or_path");
  config[std::string(source.family->keys.layers)] = layers.size();
  write_threshold(source, layers, config);
  const LayerPattern pattern = layer_pattern(*source.family, source.json, source.layer_count(), kConfigFile);
  write_layer_types(source, layers, pattern, config);
  drop_false_period(source, layers, pattern, config);
  write_unrotated(source, layers, pattern, config);
  write_experts(source, layers, pattern, config);
  if (source.family->traits.position == Position::rope) write_rope(source, config);
  write_max_positions(source, config);
  write_dtype(source, config);
  set_beside(config, "tie_word_embeddings", source.tied_embeddings, {});
  if (source.text_key.empty()) {
    write_extension(extension, provenance, config);
    write_shapes(source, layers, form, config);
    return config;
  }
  if (!extension.empty())
    fail(ErrorKind::unsupported, kConfigFile,
         ": a layer that no ordinary layer of the family can express cannot be written "
         "inside a model of several parts; choose another replacement");
  write_shapes(source, layers, form, config);
  config = with_text_part(source.whole, source.text_key, std::move(config));
  config.erase("_name_or_path");
  write_extension({}, provenance, config);
  return config;
}

bool needs_extension(const Config& source, const std::vector<LayerOrigin>& layers) {
  return !result_extension(source, layers).empty();
}

}  // namespace streamline
