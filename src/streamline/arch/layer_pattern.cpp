// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/layer_pattern.h"

#include "streamline/base/error.h"

namespace streamline {
namespace {

// A missing key has the family's default; null and 0 mean that there is no window.
std::optional<std::int64_t> read_window(const Family& family, const Json& config, const std::string& where) {
  if (family.traits.window == WindowRule::none) return std::nullopt;
  if (family.traits.window == WindowRule::from_max_window_layers &&
      !json_bool(config, "use_sliding_window", where).value_or(false))
    return std::nullopt;
  if (!config.contains("sliding_window")) return family.defaults.sliding_window;
  const std::int64_t window = json_integer(config, "sliding_window", where).value_or(0);
  if (window < 0) fail(ErrorKind::format, where, ": 'sliding_window' is ", window, "; expected 1 or more, or null");
  return window == 0 ? std::nullopt : std::optional(window);
}

bool slides_by_rule(const Family& family, std::optional<std::int64_t> window, std::int64_t threshold,
                    std::int64_t layer) {
  if (!window) return false;
  return family.traits.window == WindowRule::all || layer >= threshold;
}

bool parse_layer_type(const Json& type, const std::string& where) {
  for (const bool sliding : {false, true})
    if (type.is_string() && type.get_ref<const std::string&>() == layer_type_name(sliding)) return sliding;
  fail(ErrorKind::unsupported, where, ": 'layer_types' has ", type.dump().substr(0, 60),
       "; supported are \"full_attention\" and \"sliding_attention\"");
}

// Replaces the rule's answer by the explicit list.
void read_layer_types(const Family& family, const Json& types, LayerPattern& pattern, const std::string& where) {
  if (!types.is_array()) fail(ErrorKind::format, where, ": 'layer_types' is not a list");
  if (types.size() != pattern.sliding.size())
    fail(ErrorKind::mismatch, where, ": 'layer_types' has ", types.size(), " entries; num_hidden_layers is ",
         pattern.sliding.size());
  for (std::size_t layer = 0; layer < types.size(); ++layer) {
    const bool sliding = parse_layer_type(types[layer], where);
    // Loaders disagree on what a list means in a family that has none of its own.
    if (family.traits.window != WindowRule::from_max_window_layers && sliding != pattern.sliding[layer])
      fail(ErrorKind::unsupported, where, ": 'layer_types' says ", types[layer].dump(), " for layer ", layer, "; in ",
           family.name, " models every layer is \"", layer_type_name(pattern.sliding[layer]), "\" here");
    if (sliding && !pattern.window)
      fail(ErrorKind::mismatch, where, ": 'layer_types' has a sliding layer (", layer,
           ") but 'sliding_window' and 'use_sliding_window' give no window");
    pattern.sliding[layer] = sliding;
  }
}

}  // namespace

std::string_view layer_type_name(bool sliding) { return sliding ? "sliding_attention" : "full_attention"; }

std::int64_t max_window_layers(const Family& family, const Json& config, const std::string& where) {
  return json_integer(config, "max_window_layers", where).value_or(family.defaults.max_window_layers);
}

LayerPattern layer_pattern(const Family& family, const Json& config, std::int64_t layers, const std::string& where) {
  LayerPattern pattern{.sliding = {}, .window = read_window(family, config, where)};
  const std::int64_t threshold = max_window_layers(family, config, where);
  for (std::int64_t layer = 0; layer < layers; ++layer)
    pattern.sliding.push_back(slides_by_rule(family, pattern.window, threshold, layer));
  const auto types = config.find("layer_types");
  if (types != config.end() && !types->is_null()) read_layer_types(family, *types, pattern, where);
  return pattern;
}

}  // namespace streamline
