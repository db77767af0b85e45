// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/follow.h"

#include <array>
#include <set>

#include "streamline/arch/layer_taps.h"
#include "streamline/arch/module_lists.h"

namespace streamline {
namespace {

constexpr std::array<const char*, 4> kQuantizationFiles = {"hf_quant_config.json", "quantize_config.json",
                                                           "quant_config.json", "quantization_config.json"};

// Where a quantisation lists the modules that it leaves alone.
const char* exemption_key(const Json& quantization) {
  for (const char* key : {"modules_to_not_convert", "ignore", "exclude_modules", "ignored_layers"})
    if (quantization.contains(key) && quantization.at(key).is_array()) return key;
  return quantization.value("quant_method", Json()) == Json("compressed-tensors") ? "ignore" : "modules_to_not_convert";
}

}  // namespace

LayerMap layer_map(std::int64_t source_layers, const std::vector<OutputLayer>& layers) {
  LayerMap map{.before = source_layers};
  for (const OutputLayer& layer : layers) map.origins.push_back(layer.source);
  return map;
}

LayerStack layer_stack(const Config& config) {
  return {.prefix = std::string(config.family->layer_prefix),
          .layers = config.layer_count(),
          .text_key = config.text_key,
          .count_key = std::string(config.family->keys.layers)};
}

void follow_layers(const LayerStack& stack, const LayerMap& map, Json& config, std::vector<std::string>& notes) {
  const std::vector<std::string> moved = renumber_layer_taps(config, map);
  notes.insert(notes.end(), moved.begin(), moved.end());
  renumber_quantization(config, stack, map);
}

void exempt_replacements(const std::vector<OutputLayer>& layers, const LayerStack& stack,
                         const std::vector<TensorSource>& tensors, Json& config) {
  const auto quantization = config.find("quantization_config");
  if (quantization == config.end() || !quantization->is_object()) return;
  std::set<std::int64_t> replaced;
  for (std::size_t i = 0; i < layers.size(); ++i)
    if (layers[i].replaced) replaced.insert(static_cast<std::int64_t>(i));
  if (replaced.empty()) return;
  Json& exempt = (*quantization)[exemption_key(*quantization)];
  if (!exempt.is_array()) exempt = Json::array({"lm_head"});  // which loaders leave alone where there is no list
  constexpr std::string_view kWeight = ".weight";
  for (const TensorSource& tensor : tensors) {
    const auto place = parse_stack_tensor(stack, tensor.header.name);
    if (!place || replaced.count(place->layer) == 0 || tensor.header.shape.size() != 2) continue;
    if (place->suffix.ends_with(kWeight))
      exempt.push_back(tensor.header.name.substr(0, tensor.header.name.size() - kWeight.size()));
  }
}

void write_quantization_files(const FileSet& files, const LayerStack& stack, const LayerMap& map,
                              OutputDirectory& out) {
  for (const char* name : kQuantizationFiles) {
    if (!files.contains(name)) continue;
    const Json json = parse_json(files.open(name).text(), files.label() + "/" + name);
    out.write(name, dump_json(renumbered_modules(json, stack, map)));
  }
}

}  // namespace streamline
