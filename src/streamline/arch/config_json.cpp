// SPDX-License-Identifier: Apache-2.0
// Reads config.json by the rules of transformers: null means absent, a missing key has the family's default, and a key
// that would change the computation in a way we do not have is an error.
#include <algorithm>
#include <cmath>

#include "streamline/arch/activation.h"
#include "streamline/arch/config.h"
#include "streamline/arch/extension.h"
#include "streamline/arch/layer_pattern.h"
#include "streamline/arch/rope_json.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

// config.json with its family and the name that messages give it.
struct Source {
  const Json& json;
  const Family& family;
  const std::string& where;
};

bool is_present(const Json& json, std::string_view key) {
  const auto found = json.find(std::string(key));
  return found != json.end() && !found->is_null();
}

const Family& read_family(const Json& json, const std::string& where) {
  const std::string type = base_model_type(json, where);
  if (const Family* family = find_family(type)) return *family;
  std::string known;
  for (const Family* family : families()) known += (known.empty() ? "" : ", ") + std::string(family->name);
  fail(ErrorKind::unsupported, where, ": the model family '", type, "' (model_type) is not supported; supported are ",
       known);
}

// Keys that change the computation whatever the family, and that we do not compute.
struct UnsupportedKey {
  const char* key;
  const char* advice;
};
constexpr UnsupportedKey kUnsupported[] = {
    {"quantization_config", "quantised weights are not supported; start from the unquantised checkpoint"},
    {"compression_config", "compressed weights are not supported; start from the uncompressed checkpoint"},
    {"per_layer_config", "layers with their own configuration are not supported"},
    {"block_configs", "layers with their own configuration are not supported"},
};

void check_supported(const Source& source) {
  for (const UnsupportedKey& unsupported : kUnsupported)
    if (is_present(source.json, unsupported.key) && !source.json.at(unsupported.key).empty())
      fail(ErrorKind::unsupported, source.where, ": has '", unsupported.key, "': ", unsupported.advice);
  for (const RequiredValue& required : source.family.required) {
    if (!is_present(source.json, required.key)) continue;
    const Json& value = source.json.at(std::string(required.key));
    if (std::find(required.allowed.begin(), required.allowed.end(), value) == required.allowed.end())
      fail(ErrorKind::unsupported, source.where, ": '", required.key, "' is ", value.dump().substr(0, 60),
           "; supported in ", source.family.name, " models: ", required.allowed.dump());
  }
}

std::int64_t checked_dimension(std::int64_t value, std::string_view key, const std::string& where,
                               std::int64_t largest = kMaxDimension) {
  if (value < 1 || value > largest)
    fail(ErrorKind::format, where, ": '", key, "' is ", value, "; expected 1 to ", largest);
  return value;
}

std::int64_t dimension(const Source& source, std::string_view key, std::optional<std::int64_t> otherwise = {},
                       std::int64_t largest = kMaxDimension) {
  const std::optional<std::int64_t> given = key.empty() ? std::nullopt : json_integer(source.json, key, source.where);
  if (!given && !otherwise) fail(ErrorKind::format, source.where, ": lacks '", key, "'");
  return checked_dimension(given.value_or(otherwise.value_or(0)), key, source.where, largest);
}

bool read_bias(const Source& source, const BiasRule& rule) {
  if (rule.key.empty()) return rule.otherwise;
  return json_bool(source.json, rule.key, source.where).value_or(rule.otherwise);
}

std::int64_t read_head_dim(const Source& source, std::int64_t hidden, std::int64_t heads) {
  const ConfigKeys& keys = source.family.keys;
  const bool given = !keys.head_dim.empty() && is_present(source.json, keys.head_dim);
  if (!given && !source.family.defaults.head_dim && hidden % heads != 0)
    fail(ErrorKind::mismatch, source.where, ": '", keys.hidden, "' ", hidden, " is not a multiple of '", keys.heads,
         "' ", heads);
  const std::int64_t head_dim =
      dimension(source, keys.head_dim, source.family.defaults.head_dim.value_or(hidden / heads));
  if (source.family.traits.position == Position::rope && head_dim % 2 != 0)
    fail(ErrorKind::mismatch, source.where, ": the head dimension ", head_dim, " is odd; rotary embeddings need pairs");
  return head_dim;
}

AttentionConfig read_attention(const Source& source, std::int64_t hidden) {
  const ConfigKeys& keys = source.family.keys;
  AttentionConfig attention;
  attention.heads = dimension(source, keys.heads);
  // transformers takes null for the number of heads, and a missing key for the family's own default.
  const bool missing = !keys.kv_heads.empty() && !source.json.contains(std::string(keys.kv_heads));
  const std::optional<std::int64_t> by_default = missing ? source.family.defaults.kv_heads : std::nullopt;
  attention.kv_heads = dimension(source, keys.kv_heads, by_default.value_or(attention.heads));
  if (attention.heads % attention.kv_heads != 0)
    fail(ErrorKind::mismatch, source.where, ": '", keys.heads, "' ", attention.heads, " is not a multiple of '",
         keys.kv_heads, "' ", attention.kv_heads);
  attention.head_dim = read_head_dim(source, hidden, attention.heads);
  if (attention.heads * attention.head_dim > kMaxDimension)
    fail(ErrorKind::format, source.where, ": ", attention.heads, " heads of ", attention.head_dim, " are wider than ",
         kMaxDimension);
  attention.qk_norm = source.family.traits.qk_norm;
  attention.qkv_bias = read_bias(source, source.family.traits.qkv_bias);
  attention.o_bias = read_bias(source, source.family.traits.o_bias);
  return attention;
}

MlpConfig read_mlp(const Source& source) {
  const ConfigKeys& keys = source.family.keys;
  const std::string name =
      json_string(source.json, keys.activation, source.where).value_or(std::string(source.family.defaults.activation));
  const std::optional<Activation> activation = parse_activation(name);
  if (!activation)
    fail(ErrorKind::unsupported, source.where, ": the activation '", name, "' (", keys.activation,
         ") is not supported; supported are silu, relu, gelu, gelu_new, gelu_pytorch_tanh");
  return {.intermediate = dimension(source, keys.intermediate),
          .gated = source.family.traits.gated_mlp,
          .activation = *activation,
          .norm = true,
          .residual = true,
          .bias = read_bias(source, source.family.traits.mlp_bias)};
}

std::vector<LayerConfig> read_layers(const Source& source, std::int64_t hidden) {
  const std::int64_t count = dimension(source, source.family.keys.layers, {}, kMaxLayers);
  const LayerPattern pattern = layer_pattern(source.family, source.json, count, source.where);
  const LayerConfig ordinary{read_attention(source, hidden), read_mlp(source)};
  std::vector<LayerConfig> layers(static_cast<std::size_t>(count), ordinary);
  for (std::size_t i = 0; i < layers.size(); ++i)
    if (pattern.sliding[i]) layers[i].attention->window = pattern.window;
  for (const auto& [index, layer] : extension_layers(source.json, count, source.where))
    layers[static_cast<std::size_t>(index)] = layer;
  return layers;
}

double read_epsilon(const Source& source) {
  const std::string_view key = source.family.keys.norm_epsilon;
  const double otherwise = source.family.defaults.norm_epsilon;
  const double epsilon = key.empty() ? otherwise : json_number(source.json, key, source.where).value_or(otherwise);
  if (!std::isfinite(epsilon) || epsilon < 0)
    fail(ErrorKind::format, source.where, ": '", key, "' is ", epsilon, "; expected a small positive number");
  return epsilon;
}

// `dtype` (transformers 5) or `torch_dtype`; empty when neither says.
std::string read_dtype(const Source& source) {
  constexpr std::string_view kKnown[] = {"bfloat16", "float16", "float32", "float64"};
  for (const char* key : {"dtype", "torch_dtype"}) {
    std::string name = json_string(source.json, key, source.where).value_or("");
    if (name.starts_with("torch.")) name.erase(0, 6);
    if (name.empty() || name == "auto") continue;
    if (std::find(std::begin(kKnown), std::end(kKnown), name) == std::end(kKnown))
      fail(ErrorKind::unsupported, source.where, ": '", key, "' is \"", name,
           "\"; supported are bfloat16, float16, float32, float64");
    return name;
  }
  return {};
}

// One token id, or the first of a list.
std::optional<std::int64_t> read_token(const Source& source, const char* key) {
  const auto found = source.json.find(key);
  if (found == source.json.end() || !found->is_array()) return json_integer(source.json, key, source.where);
  if (found->empty()) return std::nullopt;
  const Json first = {{key, found->front()}};
  return json_integer(first, key, source.where);
}

void check_embedding_width(const Source& source, std::int64_t hidden) {
  const std::string_view key = source.family.keys.embedding_width;
  if (key.empty()) return;
  const std::int64_t width = json_integer(source.json, key, source.where).value_or(hidden);
  if (width != hidden)
    fail(ErrorKind::unsupported, source.where, ": '", key, "' is ", width, "; supported is the hidden size, ", hidden,
         " (no projection of the embeddings)");
}

}  // namespace

bool is_ordinary(const LayerConfig& layer) {
  return layer.attention && layer.mlp && layer.mlp->norm && layer.mlp->residual;
}

Config config_from_json(const Json& json, const std::string& where) {
  if (!json.is_object()) fail(ErrorKind::format, where, ": not a JSON object");
  const Family& family = read_family(json, where);
  const Source source{json, family, where};
  check_supported(source);
  Config config;
  config.family = &family;
  config.hidden = dimension(source, family.keys.hidden);
  config.vocab = dimension(source, family.keys.vocab);
  config.max_positions = dimension(source, family.keys.max_positions, family.defaults.max_positions, kMaxPositions);
  check_embedding_width(source, config.hidden);
  config.norm_epsilon = read_epsilon(source);
  config.tied_embeddings = json_bool(json, "tie_word_embeddings", where).value_or(family.defaults.tied_embeddings);
  config.layers = read_layers(source, config.hidden);
  if (family.traits.position == Position::rope) config.rope = rope_from_json(family, json, config.max_positions, where);
  config.dtype = read_dtype(source);
  config.bos = read_token(source, "bos_token_id");
  config.eos = read_token(source, "eos_token_id");
  config.json = json;
  return config;
}

}  // namespace streamline
