// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/layer_pattern.h"

#include "streamline/base/error.h"

namespace streamline {
namespace {

struct Reader {
  const Family& family;
  const Json& config;
  const std::string& where;
};

bool asks_for_use(WindowRule rule) {
  return rule == WindowRule::all_if_used || rule == WindowRule::from_max_window_layers ||
         rule == WindowRule::below_max_window_layers || rule == WindowRule::unrotated;
}

std::string_view window_key(const Family& family) {
  return sees_chunks(family) ? "attention_chunk_size" : "sliding_window";
}

// A missing key has the family's default; null and 0 mean that there is no window.
std::optional<std::int64_t> read_window(const Reader& reader) {
  const WindowRule rule = reader.family.traits.window;
  if (rule == WindowRule::none) return std::nullopt;
  if (asks_for_use(rule) && !json_bool(reader.config, "use_sliding_window", reader.where).value_or(false))
    return std::nullopt;
  const std::string_view key = window_key(reader.family);
  if (!reader.config.contains(key)) return reader.family.defaults.sliding_window;
  const std::int64_t window = json_integer(reader.config, key, reader.where).value_or(0);
  if (window < 0) fail(ErrorKind::format, reader.where, ": '", key, "' is ", window, "; expected 1 or more, or null");
  return window == 0 ? std::nullopt : std::optional(window);
}

std::int64_t read_period(const Reader& reader, std::string_view key, std::int64_t otherwise) {
  const std::int64_t period =
      key.empty() ? otherwise : json_integer(reader.config, key, reader.where).value_or(otherwise);
  if (period < 1) fail(ErrorKind::format, reader.where, ": '", key, "' is ", period, "; expected 1 or more");
  return period;
}

// The list under `key` when it is there, checked to have an entry for every layer.
const Json* find_list(const Reader& reader, const char* key, std::size_t layers, bool may_be_longer) {
  const auto found = reader.config.find(key);
  if (found == reader.config.end() || found->is_null()) return nullptr;
  if (!found->is_array()) fail(ErrorKind::format, reader.where, ": '", key, "' is not a list");
  if (may_be_longer ? found->size() < layers : found->size() != layers)
    fail(ErrorKind::mismatch, reader.where, ": '", key, "' has ", found->size(), " entries; ",
         reader.family.keys.layers, " is ", layers);
  return &*found;
}

// `no_rope_layers` has a one where a layer turns its heads; without it, or with an empty one, every n-th layer does
// not.
std::vector<bool> read_rotated(const Reader& reader, std::size_t layers) {
  std::vector<bool> rotated(layers, true);
  if (reader.family.traits.rope != RopeRule::listed) return rotated;
  constexpr const char* kInterval = "no_rope_layer_interval";
  const auto given = reader.config.find("no_rope_layers");
  const bool empty = given != reader.config.end() && given->is_array() && given->empty();
  const Json* list = empty ? nullptr : find_list(reader, "no_rope_layers", layers, /*may_be_longer=*/true);
  const std::int64_t interval = list ? 0 : read_period(reader, kInterval, 4);
  for (std::size_t i = 0; i < layers; ++i) {
    if (list && (*list)[i] != Json(0) && (*list)[i] != Json(1))
      fail(ErrorKind::format, reader.where, ": 'no_rope_layers' has ", (*list)[i].dump().substr(0, 60),
           "; expected 0 or 1");
    rotated[i] = list ? (*list)[i] == Json(1) : (static_cast<std::int64_t>(i) + 1) % interval != 0;
  }
  return rotated;
}

bool slides_by_rule(const Reader& reader, std::int64_t layer, std::int64_t period, bool rotated) {
  switch (reader.family.traits.window) {
    case WindowRule::none:
      return false;
    case WindowRule::all:
    case WindowRule::all_if_used:
      return true;
    case WindowRule::from_max_window_layers:
      return layer >= max_window_layers(reader.family, reader.config, reader.where);
    case WindowRule::below_max_window_layers:
      return layer % 2 == 0 && layer < max_window_layers(reader.family, reader.config, reader.where);
    case WindowRule::unrotated:
      return !rotated;
    case WindowRule::chunks_if_rotated:
      return rotated;
    case WindowRule::periodic:
      return (layer + 1) % period != 0;
  }
  return false;
}

bool parse_layer_type(const Reader& reader, const Json& type) {
  for (const bool sliding : {false, true})
    if (type.is_string() && type.get_ref<const std::string&>() == layer_type_name(reader.family, sliding))
      return sliding;
  fail(ErrorKind::unsupported, reader.where, ": 'layer_types' has ", type.dump().substr(0, 60), "; supported are \"",
       layer_type_name(reader.family, false), "\" and \"", layer_type_name(reader.family, true), "\"");
}

// Replaces the rule's answer by the explicit list.
void read_layer_types(const Reader& reader, const Json& types, LayerPattern& pattern) {
  for (std::size_t layer = 0; layer < types.size(); ++layer) {
    const bool sliding = parse_layer_type(reader, types[layer]);
    // Loaders disagree on what a list means in a family that has none of its own.
    if (!has_layer_types(reader.family) && sliding != pattern.sliding[layer])
      fail(ErrorKind::unsupported, reader.where, ": 'layer_types' says ", types[layer].dump(), " for layer ", layer,
           "; in ", reader.family.name, " models every layer is \"",
           layer_type_name(reader.family, pattern.sliding[layer]), "\" here");
    if (sliding && !pattern.window)
      fail(ErrorKind::mismatch, reader.where, ": 'layer_types' has a sliding layer (", layer,
           sees_chunks(reader.family) ? ") but 'attention_chunk_size' gives no chunk"
                                      : ") but 'sliding_window' and 'use_sliding_window' give no window");
    pattern.sliding[layer] = sliding;
  }
}

RopeUse rope_use(RopeRule rule, bool rotated, bool sliding) {
  if (!rotated || (rule == RopeRule::sliding_only && !sliding)) return RopeUse::none;
  return rule == RopeRule::local_in_sliding && sliding ? RopeUse::local : RopeUse::global;
}

// Sets the layers that the list under `key` names; false when there is none.
bool mark_named(const Reader& reader, const char* key, bool value, std::vector<bool>& marks) {
  const auto list = reader.config.find(key);
  if (list == reader.config.end() || list->is_null()) return false;
  if (!list->is_array()) fail(ErrorKind::format, reader.where, ": '", key, "' is not a list");
  for (const Json& entry : *list) {
    Json holder = Json::object();
    holder[key] = entry;
    const std::int64_t layer = json_integer(holder, key, reader.where).value_or(-1);
    if (layer >= 0 && layer < std::ssize(marks)) marks[static_cast<std::size_t>(layer)] = value;
  }
  return true;
}

void mark_every(std::int64_t step, std::vector<bool>& marks) {
  for (std::size_t i = 0; i < marks.size(); ++i) marks[i] = (static_cast<std::int64_t>(i) + 1) % step == 0;
}

// Which layers have experts: those that `moe_layers` names, or those of every n-th position that `mlp_only_layers` does
// not name.
std::vector<bool> read_sparse(const Reader& reader, std::size_t layers) {
  const auto& rule = reader.family.experts;
  std::vector<bool> sparse(layers, rule.has_value());
  if (!rule || (!rule->dense_layers && !rule->sparse_listed)) return sparse;
  if (rule->dense_layers) {
    mark_every(read_period(reader, "decoder_sparse_step", 1), sparse);
    mark_named(reader, "mlp_only_layers", false, sparse);
    return sparse;
  }
  sparse.assign(layers, false);
  if (!mark_named(reader, "moe_layers", true, sparse))
    mark_every(read_period(reader, "interleave_moe_layer_step", 1), sparse);
  return sparse;
}

}  // namespace

std::string_view layer_type_name(const Family& family, bool sliding) {
  if (!sliding) return "full_attention";
  return sees_chunks(family) ? "chunked_attention" : "sliding_attention";
}

bool sees_chunks(const Family& family) { return family.traits.window == WindowRule::chunks_if_rotated; }

bool has_layer_types(const Family& family) {
  const WindowRule rule = family.traits.window;
  return rule == WindowRule::from_max_window_layers || rule == WindowRule::below_max_window_layers ||
         rule == WindowRule::unrotated || rule == WindowRule::periodic || rule == WindowRule::chunks_if_rotated;
}

std::int64_t max_window_layers(const Family& family, const Json& config, const std::string& where) {
  return json_integer(config, "max_window_layers", where).value_or(family.defaults.max_window_layers);
}

bool is_periodic(const std::vector<bool>& sliding, std::int64_t period) {
  for (std::size_t i = 0; i < sliding.size(); ++i)
    if (sliding[i] != ((static_cast<std::int64_t>(i) + 1) % period != 0)) return false;
  return true;
}

LayerPattern layer_pattern(const Family& family, const Json& config, std::int64_t layers, const std::string& where) {
  const Reader reader{family, config, where};
  const auto count = static_cast<std::size_t>(layers);
  const std::vector<bool> rotated = read_rotated(reader, count);
  LayerPattern pattern{.window = read_window(reader)};
  const bool periodic = family.traits.window == WindowRule::periodic;
  if (periodic && !pattern.window)
    fail(ErrorKind::unsupported, where, ": 'sliding_window' is null; in ", family.name,
         " models the layers that slide need one");
  const std::int64_t period =
      periodic ? read_period(reader, family.keys.window_period, family.defaults.window_period) : 0;
  for (std::size_t i = 0; i < count; ++i)
    pattern.sliding.push_back(pattern.window &&
                              slides_by_rule(reader, static_cast<std::int64_t>(i), period, rotated[i]));
  if (const Json* types = find_list(reader, "layer_types", count, /*may_be_longer=*/false))
    read_layer_types(reader, *types, pattern);
  for (std::size_t i = 0; i < count; ++i)
    pattern.rope.push_back(rope_use(family.traits.rope, rotated[i], pattern.sliding[i]));
  pattern.sparse = read_sparse(reader, count);
  return pattern;
}

}  // namespace streamline
