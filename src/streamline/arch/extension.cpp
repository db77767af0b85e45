// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/extension.h"

#include <algorithm>

#include "streamline/arch/activation.h"
#include "streamline/arch/json_edit.h"
#include "streamline/base/json_fields.h"

namespace streamline {
namespace {

constexpr const char* kName = "streamline";
constexpr const char* kExtended = "StreamlineForCausalLM";
constexpr std::int64_t kFormat = 1;
constexpr std::string_view kEntryKeys[] = {"index", "kind", "intermediate_size", "activation", "gated", "residual",
                                           "norm",  "bias"};

const Json& extension_object(const Json& config, const std::string& where) {
  const auto found = config.find(kName);
  if (found == config.end() || !found->is_object())
    fail(ErrorKind::format, where, ": model_type is \"streamline\" but there is no object 'streamline'");
  const std::int64_t format = json_integer(*found, "format", where).value_or(0);
  if (format != kFormat)
    fail(ErrorKind::unsupported, where, ": 'streamline.format' is ", format, "; this program reads ", kFormat);
  return *found;
}

void check_entry_keys(const Json& entry, const std::string& where) {
  if (!entry.is_object()) fail(ErrorKind::format, where, ": not an object");
  for (const auto& [key, value] : entry.items())
    if (std::find(std::begin(kEntryKeys), std::end(kEntryKeys), key) == std::end(kEntryKeys))
      fail(ErrorKind::unsupported, where, ": unknown key '", key, "'");
}

LayerConfig read_layer(const Json& entry, const std::string& where) {
  const std::string kind = json_string(entry, "kind", where).value_or("");
  if (kind != "ffn") fail(ErrorKind::unsupported, where, ": the kind '", kind, "' is not supported; supported is ffn");
  MlpConfig mlp;
  mlp.intermediate = json_integer(entry, "intermediate_size", where).value_or(0);
  if (mlp.intermediate < 1 || mlp.intermediate > kMaxDimension)
    fail(ErrorKind::format, where, ": 'intermediate_size' is ", mlp.intermediate, "; expected 1 to ", kMaxDimension);
  const std::string name = json_string(entry, "activation", where).value_or("");
  const std::optional<Activation> activation = parse_activation(name);
  if (!activation) fail(ErrorKind::unsupported, where, ": the activation '", name, "' is not supported");
  mlp.activation = *activation;
  mlp.gated = json_bool(entry, "gated", where).value_or(false);
  mlp.norm = required(json_bool(entry, "norm", where), "norm", where);
  mlp.residual = required(json_bool(entry, "residual", where), "residual", where);
  mlp.bias = required(json_bool(entry, "bias", where), "bias", where);
  return {.attention = std::nullopt, .mlp = mlp};
}

Json write_layer(std::int64_t index, const LayerConfig& layer) {
  SL_ASSERT(!layer.attention && layer.mlp);
  const MlpConfig& mlp = *layer.mlp;
  return {{"index", index},
          {"kind", "ffn"},
          {"intermediate_size", mlp.intermediate},
          {"activation", activation_name(mlp.activation)},
          {"gated", mlp.gated},
          {"norm", mlp.norm},
          {"residual", mlp.residual},
          {"bias", mlp.bias}};
}

// Of the ordinary family, whether or not `config` has the extension itself.
Json base_value(const Json& config, const char* extension_key, const char* ordinary_key) {
  const Json& object = has_extension(config) ? config.at(kName) : config;
  const auto found = object.find(has_extension(config) ? extension_key : ordinary_key);
  return found == object.end() ? Json(nullptr) : *found;
}

}  // namespace

bool has_extension(const Json& config) {
  const auto type = config.find("model_type");
  return type != config.end() && *type == Json(kName);
}

std::string base_model_type(const Json& config, const std::string& where) {
  const Json& object = has_extension(config) ? extension_object(config, where) : config;
  const char* key = has_extension(config) ? "base_model_type" : "model_type";
  const std::optional<std::string> type = json_string(object, key, where);
  if (!type) fail(ErrorKind::format, where, ": lacks '", key, "'; expected the name of a model family");
  return *type;
}

std::map<std::int64_t, LayerConfig> extension_layers(const Json& config, std::int64_t layers,
                                                     const std::string& where) {
  std::map<std::int64_t, LayerConfig> found;
  if (!has_extension(config)) return found;
  const Json& object = extension_object(config, where);
  const auto list = object.find("layers");
  if (list == object.end() || !list->is_array())
    fail(ErrorKind::format, where, ": 'streamline.layers' is not a list of layers");
  for (std::size_t i = 0; i < list->size(); ++i) {
    const std::string entry_name = where + ": streamline.layers[" + std::to_string(i) + "]";
    const Json& entry = (*list)[i];
    check_entry_keys(entry, entry_name);
    const std::int64_t index = json_integer(entry, "index", entry_name).value_or(-1);
    if (index < 0 || index >= layers)
      fail(ErrorKind::mismatch, entry_name, ": 'index' is ", index, "; expected 0 to ", layers - 1);
    if (!found.emplace(index, read_layer(entry, entry_name)).second)
      fail(ErrorKind::format, entry_name, ": layer ", index, " is described twice");
  }
  return found;
}

void write_extension(const std::map<std::int64_t, LayerConfig>& layers, const Json& provenance, Json& config) {
  const Json type = base_value(config, "base_model_type", "model_type");
  const Json architectures = base_value(config, "base_architectures", "architectures");
  const bool extended = !layers.empty();
  Json object = Json::object();
  object["format"] = kFormat;
  if (extended) {
    object["base_model_type"] = type;
    object["base_architectures"] = architectures;
    object["layers"] = Json::array();
    for (const auto& [index, layer] : layers) object["layers"].push_back(write_layer(index, layer));
  }
  if (!provenance.is_null()) object["provenance"] = provenance;
  set_beside(config, "model_type", extended ? Json(kName) : type, {"architectures"});
  if (extended || !architectures.is_null())
    set_beside(config, "architectures", extended ? Json::array({kExtended}) : architectures, {});
  config.erase(kName);
  if (extended || !provenance.is_null()) config[kName] = object;
}

}  // namespace streamline
