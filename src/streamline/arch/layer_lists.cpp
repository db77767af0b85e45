// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/layer_lists.h"

#include <algorithm>
#include <array>

#include "streamline/arch/json_edit.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

// Numbers of layers that are of some kind.
constexpr std::array<std::string_view, 7> kIndexLists = {"mlp_only_layers",        "moe_layers",
                                                         "full_attn_idxs",         "cross_attention_layers",
                                                         "attn_layer_indices",     "full_attention_layers",
                                                         "global_attention_layers"};
// How many layers at the start are of some kind.
constexpr std::array<std::string_view, 5> kLeadingCounts = {
    "first_k_dense_replace", "num_dense_layers", "max_window_layers", "moe_layer_start_index", "n_dense_layers"};
// Other spellings of the number of layers.
constexpr std::array<std::string_view, 4> kCounts = {"num_hidden_layers", "n_layer", "n_layers", "num_layers"};
// Sharing that goes by position and reaches into tensors that are not numbered.
constexpr std::array<std::string_view, 2> kShared = {"num_kv_shared_layers", "hidden_size_per_layer_input"};
// Lists whose length may be that of the stack by chance.
constexpr std::array<std::string_view, 5> kNoLayerLists = {"architectures", "eos_token_id", "bos_token_id",
                                                           "pad_token_id", "suppress_tokens"};

// Kinds that go by position; an explicit list under `list`, where there is one, decides instead.
struct Period {
  std::string_view key;
  std::string_view list = {};
};
constexpr std::array kPeriods = {Period{"decoder_sparse_step"},
                                 Period{"interleave_moe_layer_step", "moe_layers"},
                                 Period{"moe_layer_freq"},
                                 Period{"moe_layer_interval"},
                                 Period{"full_attention_interval", "layer_types"},
                                 Period{"sliding_window_pattern", "layer_types"},
                                 Period{"_sliding_window_pattern", "layer_types"},
                                 Period{"no_rope_layer_interval", "no_rope_layers"},
                                 Period{"attn_layer_period", "layer_types"},
                                 Period{"expert_layer_period"},
                                 Period{"global_attn_every_n_layers", "layer_types"},
                                 Period{"cross_layer_interval"}};

template <std::size_t N>
bool is_one_of(const std::string& key, const std::array<std::string_view, N>& keys) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

bool has_list(const Json& text, std::string_view key) {
  const auto found = key.empty() ? text.end() : text.find(std::string(key));
  return found != text.end() && found->is_array() && !found->empty();
}

// Llama 4 derives three lists from periods where they are missing.
void write_out_llama4(Json& text, std::int64_t layers) {
  if (!text.contains("interleave_moe_layer_step") || !text.contains("attention_chunk_size")) return;
  if (!has_list(text, "no_rope_layers")) {
    const std::int64_t interval = json_integer(text, "no_rope_layer_interval", kConfigFile).value_or(4);
    Json rotated = Json::array();
    for (std::int64_t i = 0; i < layers; ++i) rotated.push_back(interval > 0 && (i + 1) % interval == 0 ? 0 : 1);
    set_beside(text, "no_rope_layers", rotated, {"no_rope_layer_interval"});
  }
  if (!has_list(text, "moe_layers")) {
    const std::int64_t step =
        std::max<std::int64_t>(1, json_integer(text, "interleave_moe_layer_step", kConfigFile).value_or(1));
    Json sparse = Json::array();
    for (std::int64_t i = step - 1; i < layers; i += step) sparse.push_back(i);
    set_beside(text, "moe_layers", sparse, {"interleave_moe_layer_step"});
  }
  if (!has_list(text, "layer_types")) {
    Json types = Json::array();
    for (const Json& rotated : text.at("no_rope_layers"))
      types.push_back(rotated == Json(0) ? "full_attention" : "chunked_attention");
    set_beside(text, "layer_types", types, {"attention_chunk_size"});
  }
}

void check_positions(const Json& text, const LayerMap& map) {
  for (const std::string_view key : kShared)
    if (const auto found = text.find(std::string(key)); found != text.end() && found->is_number() && *found != Json(0))
      fail(ErrorKind::unsupported, kConfigFile, ": '", key, "' is ", found->dump(),
           ": its layers share what is not numbered by layer; removing some is not supported");
  for (const Period& period : kPeriods) {
    const auto found = text.find(std::string(period.key));
    if (found == text.end() || !found->is_number_integer() || has_list(text, period.list)) continue;
    const auto length = found->get<std::int64_t>();
    for (std::int64_t i = 0; length > 1 && i < map.after(); ++i)
      if (i % length != map.origins[static_cast<std::size_t>(i)] % length)
        fail(ErrorKind::unsupported, kConfigFile, ": '", period.key, "' is ", length, ": layer ",
             map.origins[static_cast<std::size_t>(i)], " would change its kind at position ", i,
             "; remove whole periods of ", length, " layers");
  }
}

Json sliced(const Json& list, const LayerMap& map) {
  Json entries = Json::array();
  for (const std::int64_t origin : map.origins) entries.push_back(list[static_cast<std::size_t>(origin)]);
  return entries;
}

Json survivors(const Json& list, const std::string& key, const LayerMap& map) {
  Json numbers = Json::array();
  for (const Json& entry : list) {
    const std::int64_t layer = entry.is_number_integer() ? entry.get<std::int64_t>() : -1;
    if (layer < 0)
      fail(ErrorKind::format, kConfigFile, ": '", key, "' has ", entry.dump().substr(0, 60),
           "; expected numbers of layers");
    if (layer >= map.before) continue;  // transformers takes no notice of them
    if (const auto place = map.place(layer)) numbers.push_back(*place);
  }
  return numbers;
}

std::int64_t below(std::int64_t threshold, const LayerMap& map) {
  return std::count_if(map.origins.begin(), map.origins.end(), [&](std::int64_t layer) { return layer < threshold; });
}

// The new value of a key, or nullopt where it says nothing of single layers.
std::optional<Json> renumbered(const std::string& key, const Json& value, const LayerMap& map) {
  const auto layers = static_cast<std::size_t>(map.before);
  if (value.is_array() && is_one_of(key, kIndexLists)) return survivors(value, key, map);
  if (value.is_array() && key == "layer_types" && value.size() != layers)
    fail(ErrorKind::mismatch, kConfigFile, ": '", key, "' has ", value.size(), " entries; there are ", layers,
         " layers");
  if (value.is_array() && value.size() == layers && !is_one_of(key, kNoLayerLists)) return sliced(value, map);
  if (value.is_number_integer() && is_one_of(key, kLeadingCounts)) return below(value.get<std::int64_t>(), map);
  if (value.is_string() && key == "hybrid_override_pattern") {  // a letter a layer (Nemotron-H)
    const std::string before = value.get<std::string>();
    if (before.size() != layers) return std::nullopt;
    std::string after;
    for (const std::int64_t origin : map.origins) after += before[static_cast<std::size_t>(origin)];
    return after;
  }
  if (value.is_object() && key == "per_layer_config") {
    Json object = Json::object();
    for (const auto& [layer, settings] : value.items())
      if (!layer.empty() && layer.size() <= 9 && layer.find_first_not_of("0123456789") == std::string::npos) {
        if (const auto place = map.place(std::stoll(layer))) object[std::to_string(*place)] = settings;
      } else {
        object[layer] = settings;
      }
    return object;
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> renumber_layer_lists(Json& text, const LayerStack& stack, const LayerMap& map) {
  write_out_llama4(text, map.before);
  check_positions(text, map);
  std::string changed;
  for (auto& [key, value] : text.items()) {
    const std::optional<Json> edited = renumbered(key, value, map);
    if (!edited || *edited == value) continue;
    changed += (changed.empty() ? "'" : ", '") + key + "'";
    value = *edited;
  }
  for (const std::string_view key : kCounts)
    if (text.contains(std::string(key))) text[std::string(key)] = map.after();
  text[stack.count_key] = map.after();
  if (changed.empty()) return {};
  return {"config.json: " + changed + " follow the layers that are left"};
}

}  // namespace streamline
