// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/layer_shapes.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "streamline/arch/activation.h"
#include "streamline/arch/json_edit.h"
#include "streamline/arch/names.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr const char* kBlocks = "block_configs";
constexpr const char* kPerLayer = "per_layer_config";

// One half of an entry of `block_configs`, with the name that messages give it.
struct BlockHalf {
  const Json& json;
  std::string where;
};

std::string shown(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 60);
}

BlockHalf half_of(const Json& entry, const char* half, const std::string& where) {
  const auto found = entry.is_object() ? entry.find(half) : entry.end();
  if (!entry.is_object() || found == entry.end() || !found->is_object())
    fail(ErrorKind::format, where, " has no object '", half, "'");
  return {*found, where + "." + half};
}

// Switches that later files carry are off (null or false) or change what is computed.
void check_switches(const BlockHalf& half, std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : half.json.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end() || value.is_null() || value == Json(false)) continue;
    if (key == "replace_with_linear")
      fail(ErrorKind::unsupported, half.where,
           ": is replaced by a linear map (replace_with_linear); such layers are not supported");
    fail(ErrorKind::unsupported, half.where, ": '", key, "' is ", shown(value), "; supported is null or false");
  }
}

bool is_missing(const BlockHalf& half) { return json_bool(half.json, "no_op", half.where).value_or(false); }

std::optional<AttentionConfig> read_attention(const BlockHalf& half, AttentionConfig attention) {
  check_switches(half, {"n_heads_in_group", "no_op"});
  if (is_missing(half)) return std::nullopt;
  const std::int64_t group = json_integer(half.json, "n_heads_in_group", half.where).value_or(0);
  if (group < 1 || attention.heads % group != 0)
    fail(ErrorKind::mismatch, half.where, ": 'n_heads_in_group' is ",
         shown(half.json.value("n_heads_in_group", Json())), "; expected a divisor of the ", attention.heads,
         " heads, or 'no_op'");
  attention.kv_heads = attention.heads / group;
  return attention;
}

std::int64_t width_of(double factor, std::int64_t hidden, const BlockHalf& half) {
  const double width = 2 * factor * static_cast<double>(hidden) / 3;
  if (!(width >= 1) || width > static_cast<double>(kMaxDimension))
    fail(ErrorKind::format, half.where, ": 'ffn_mult' is ", shown(half.json.value("ffn_mult", Json())),
         "; expected the width of the MLP over 2/3 of the hidden size ", hidden, ", or 'no_op'");
  const auto whole = static_cast<std::int64_t>(width);
  return (whole + kBlockWidth - 1) / kBlockWidth * kBlockWidth;
}

std::optional<MlpConfig> read_mlp(const BlockHalf& half, std::int64_t hidden, MlpConfig mlp) {
  check_switches(half, {"ffn_mult", "no_op", "hidden_act"});
  if (is_missing(half)) return std::nullopt;
  if (const auto name = json_string(half.json, "hidden_act", half.where);
      name && parse_activation(*name) != mlp.activation)
    fail(ErrorKind::unsupported, half.where, ": 'hidden_act' is \"", *name, "\"; supported is that of the model, ",
         activation_name(mlp.activation));
  mlp.intermediate = width_of(json_number(half.json, "ffn_mult", half.where).value_or(0), hidden, half);
  return mlp;
}

void take_away(LayerConfig& layer, const Json& half, const std::string& where) {
  if (half != Json("attention") && half != Json("mlp"))
    fail(ErrorKind::unsupported, where, ": 'skip' has ", shown(half), "; supported are \"attention\" and \"mlp\"");
  if (half == Json("attention")) layer.attention.reset();
  if (half == Json("mlp")) layer.mlp.reset();
  layer.partial = true;
}

std::int64_t read_override(const Json& settings, std::string_view key, const std::string& where) {
  const std::int64_t value = json_integer(settings, key, where).value_or(0);
  if (value < 1 || value > kMaxDimension)
    fail(ErrorKind::format, where, ": '", key, "' is ", value, "; expected 1 to ", kMaxDimension);
  return value;
}

// Whether it is a width under a key of the family, which then is the layer's.
bool read_width(const ConfigSource& source, const Json& settings, std::string_view key, const std::string& where,
                LayerConfig& layer) {
  const ConfigKeys& keys = source.family.keys;
  const bool sparse = layer.mlp && layer.mlp->experts;
  if (layer.attention && key == keys.heads) {
    layer.attention->heads = read_override(settings, key, where);
  } else if (layer.attention && !keys.kv_heads.empty() && key == keys.kv_heads) {
    layer.attention->kv_heads = read_override(settings, key, where);
  } else if (layer.mlp && key == (sparse ? source.family.experts->intermediate_key : keys.intermediate)) {
    layer.mlp->intermediate = read_override(settings, key, where);
  } else {
    return false;
  }
  return true;
}

void read_overrides(const ConfigSource& source, const Json& settings, const std::string& where, LayerConfig& layer) {
  if (!settings.is_object()) fail(ErrorKind::format, where, ": not an object");
  for (const auto& [key, value] : settings.items()) {
    if (key == "skip" || read_width(source, settings, key, where, layer)) continue;
    fail(ErrorKind::unsupported, where, ": '", key,
         "' of a single layer is not supported; supported are 'skip', numbers of heads and widths of MLPs");
  }
  if (layer.attention && (layer.attention->heads % layer.attention->kv_heads != 0 ||
                          layer.attention->heads * layer.attention->head_dim > kMaxDimension))
    fail(ErrorKind::mismatch, where, ": ", layer.attention->heads, " heads do not go with ", layer.attention->kv_heads,
         " for keys and values");
  const auto skip = settings.find("skip");
  if (skip == settings.end()) return;
  if (!skip->is_array()) fail(ErrorKind::format, where, ": 'skip' is not a list");
  for (const Json& half : *skip) take_away(layer, half, where);
}

Json attention_block(const std::optional<AttentionConfig>& attention) {
  const Json group = attention ? Json(attention->heads / attention->kv_heads) : Json();
  return {{"n_heads_in_group", group},
          {"no_op", !attention},
          {"num_sink_tokens", nullptr},
          {"replace_with_linear", false},
          {"sparsify", nullptr},
          {"unshifted_sink", false},
          {"use_prefill_window_in_sink_attention", false},
          {"window_length", nullptr}};
}

Json mlp_block(const std::optional<MlpConfig>& mlp, std::int64_t hidden) {
  SL_ASSERT(!mlp || mlp->intermediate % kBlockWidth == 0);
  const double factor = mlp ? 3.0 * static_cast<double>(mlp->intermediate) / (2.0 * static_cast<double>(hidden)) : 0;
  return {{"ffn_mult", mlp ? Json(factor) : Json()},
          {"no_op", !mlp},
          {"replace_with_linear", false},
          {"sparsify", nullptr}};
}

}  // namespace

void read_block_configs(const ConfigSource& source, std::int64_t hidden, std::vector<LayerConfig>& layers) {
  const auto blocks = source.json.find(kBlocks);
  if (blocks == source.json.end() || !blocks->is_array())
    fail(ErrorKind::format, source.where, ": lacks '", kBlocks, "', a list with an entry a layer");
  if (blocks->size() != layers.size())
    fail(ErrorKind::mismatch, source.where, ": '", kBlocks, "' has ", blocks->size(), " entries; ",
         source.family.keys.layers, " is ", layers.size());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::string where = source.where + ": " + kBlocks + "[" + std::to_string(i) + "]";
    const Json& entry = (*blocks)[i];
    const BlockHalf attention = half_of(entry, "attention", where), mlp = half_of(entry, "ffn", where);
    check_switches({entry, where}, {"attention", "ffn"});
    LayerConfig& layer = layers[i];
    layer.attention = read_attention(attention, *layer.attention);
    layer.mlp = read_mlp(mlp, hidden, *layer.mlp);
    layer.partial = !layer.whole();
  }
}

void read_per_layer_config(const ConfigSource& source, std::vector<LayerConfig>& layers) {
  const auto overrides = source.json.find(kPerLayer);
  if (overrides == source.json.end() || overrides->is_null()) return;
  if (!overrides->is_object()) fail(ErrorKind::format, source.where, ": '", kPerLayer, "' is not an object");
  for (const auto& [number, settings] : overrides->items()) {
    const std::string where = source.where + ": " + kPerLayer + "[\"" + number + "\"]";
    const std::optional<std::int64_t> index = parse_layer_number(number);
    if (!index || *index >= static_cast<std::int64_t>(layers.size()))
      fail(ErrorKind::mismatch, where, ": is no layer; expected 0 to ", layers.size() - 1);
    LayerConfig& layer = layers[static_cast<std::size_t>(*index)];
    read_overrides(source, settings, where, layer);
    if (layer.partial && layer.residual != Residual::sequential)
      fail(ErrorKind::unsupported, where, ": skips a half of a layer whose halves do not follow each other");
  }
}

Json block_configs(std::int64_t hidden, const std::vector<LayerConfig>& layers) {
  Json blocks = Json::array();
  for (const LayerConfig& layer : layers)
    blocks.push_back({{"attention", attention_block(layer.attention)}, {"ffn", mlp_block(layer.mlp, hidden)}});
  return blocks;
}

ModelWidths largest_widths(const std::vector<LayerConfig>& layers) {
  ModelWidths widths;
  for (const LayerConfig& layer : layers) {
    if (!is_ordinary(layer)) continue;
    if (layer.attention) widths.kv_heads = std::max(widths.kv_heads, layer.attention->kv_heads);
    if (!layer.mlp) continue;
    std::int64_t& width = layer.mlp->experts ? widths.expert : widths.dense;
    width = std::max(width, layer.mlp->intermediate);
  }
  return widths;
}

Json per_layer_config(const Family& family, const ModelWidths& widths, const std::vector<LayerConfig>& layers) {
  Json overrides = Json::object();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerConfig& layer = layers[i];
    Json entry = Json::object();
    if (layer.partial && !layer.attention) entry["skip"].push_back("attention");
    if (layer.partial && !layer.mlp) entry["skip"].push_back("mlp");
    if (layer.attention && layer.attention->kv_heads != widths.kv_heads) {
      entry[std::string(family.keys.heads)] = layer.attention->heads;
      if (!family.keys.kv_heads.empty()) entry[std::string(family.keys.kv_heads)] = layer.attention->kv_heads;
    }
    const bool sparse = layer.mlp && layer.mlp->experts;
    if (layer.mlp && layer.mlp->intermediate != (sparse ? widths.expert : widths.dense))
      entry[std::string(sparse ? family.experts->intermediate_key : family.keys.intermediate)] =
          layer.mlp->intermediate;
    if (!entry.empty()) overrides[std::to_string(i)] = std::move(entry);
  }
  return overrides;
}

bool says_heads(const Family& family) { return !family.keys.head_dim.empty() && !family.keys.kv_heads.empty(); }

void write_widths(const Family& family, const AttentionConfig* attention, const ModelWidths& before,
                  const ModelWidths& after, Json& config) {
  const ConfigKeys& keys = family.keys;
  if (attention != nullptr && after.kv_heads != 0 && after.kv_heads != before.kv_heads) {
    SL_ASSERT(says_heads(family));
    set_beside(config, keys.heads, attention->heads / attention->kv_heads * after.kv_heads, {});
    set_beside(config, keys.kv_heads, after.kv_heads, {keys.heads});
    set_beside(config, keys.head_dim, attention->head_dim, {keys.heads, keys.kv_heads});
  }
  if (after.dense != 0 && after.dense != before.dense)
    set_beside(config, keys.intermediate, after.dense, {keys.hidden});
  if (after.expert != 0 && after.expert != before.expert)
    set_beside(config, family.experts->intermediate_key, after.expert, {keys.intermediate});
}

}  // namespace streamline
