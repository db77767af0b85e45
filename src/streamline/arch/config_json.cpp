// SPDX-License-Identifier: Apache-2.0
// Reads config.json by the rules of transformers: null means absent, a missing key has the family's default, and a key
// that would change the computation in a way we do not have is an error.
#include <algorithm>
#include <cmath>

#include "streamline/arch/config_source.h"
#include "streamline/arch/extension.h"
#include "streamline/arch/layer_stack.h"
#include "streamline/arch/multimodal.h"
#include "streamline/arch/rope_json.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

const Family& read_family(const Json& json, const std::string& where) {
  const std::string type = base_model_type(json, where);
  if (const Family* family = find_family(type)) return *family;
  std::string known;
  for (const Family* family : families()) known += (known.empty() ? "" : ", ") + std::string(family->name);
  fail(ErrorKind::unsupported, where, ": the model family '", type, "' (model_type) is not supported; supported are ",
       known);
}

void check_supported(const ConfigSource& source) {
  if (!source.family.traits.block_configs && is_present(source.json, "block_configs") &&
      !source.json.at("block_configs").empty())
    fail(ErrorKind::unsupported, source.where, ": has 'block_configs', which ", source.family.name,
         " models do not have; layers of their own shapes are read where model_type is nemotron-nas");
  for (const RequiredValue& required : source.family.required) {
    if (!is_present(source.json, required.key) && required.needed)
      fail(ErrorKind::unsupported, source.where, ": lacks '", required.key, "'; supported in ", source.family.name,
           " models: ", required.allowed.dump());
    if (!is_present(source.json, required.key)) continue;
    const Json& value = source.json.at(std::string(required.key));
    if (std::find(required.allowed.begin(), required.allowed.end(), value) == required.allowed.end())
      fail(ErrorKind::unsupported, source.where, ": '", required.key, "' is ", value.dump().substr(0, 60),
           "; supported in ", source.family.name, " models: ", required.allowed.dump());
  }
}

std::int64_t checked_dimension(std::int64_t value, std::string_view key, const std::string& where,
                               std::int64_t largest) {
  if (value < 1 || value > largest)
    fail(ErrorKind::format, where, ": '", key, "' is ", value, "; expected 1 to ", largest);
  return value;
}

double read_epsilon(const ConfigSource& source) {
  const std::string_view key = source.family.keys.norm_epsilon;
  const double otherwise = source.family.defaults.norm_epsilon;
  const double epsilon = key.empty() ? otherwise : json_number(source.json, key, source.where).value_or(otherwise);
  if (!std::isfinite(epsilon) || epsilon < 0)
    fail(ErrorKind::format, source.where, ": '", key, "' is ", epsilon, "; expected a small positive number");
  return epsilon;
}

// `dtype` (transformers 5) or `torch_dtype`; empty when neither says.
std::string read_dtype(const ConfigSource& source) {
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
std::optional<std::int64_t> read_token(const ConfigSource& source, const char* key) {
  const auto found = source.json.find(key);
  if (found == source.json.end() || !found->is_array()) return json_integer(source.json, key, source.where);
  if (found->empty()) return std::nullopt;
  const Json first = {{key, found->front()}};
  return json_integer(first, key, source.where);
}

std::int64_t read_embedding_width(const ConfigSource& source, std::int64_t hidden) {
  const std::string_view key = source.family.keys.embedding_width;
  return key.empty() ? hidden : dimension(source, key, hidden);
}

double positive_or(std::optional<double> value, double otherwise, std::string_view key, const std::string& where) {
  if (value && *value <= 0) fail(ErrorKind::format, where, ": '", key, "' is ", *value, "; expected a positive number");
  return value.value_or(otherwise);
}

Scales read_scales(const ConfigSource& source, std::int64_t hidden) {
  const ScaleRules& rules = source.family.traits.scale;
  Scales scale;
  if (rules.root_of_hidden) scale.embedding = std::sqrt(static_cast<double>(hidden));
  scale.embedding *= read_number(source, rules.embedding).value_or(1);
  scale.residual = read_number(source, rules.residual).value_or(1);
  scale.logits = read_number(source, rules.logits).value_or(1);
  const std::string_view divisor = rules.logits_divisor.key;
  scale.logits /= positive_or(read_number(source, rules.logits_divisor), 1, divisor, source.where);
  const std::string_view cap = rules.logit_softcap.key;
  scale.logit_softcap = positive_or(read_number(source, rules.logit_softcap), 0, cap, source.where);
  return scale;
}

// Every layer that turns its heads turns whole pairs.
void read_ropes(const ConfigSource& source, Config& config) {
  config.rope = rope_from_json(source.family, source.json, config.max_positions, source.where);
  config.local_rope = local_rope_from_json(source.family, source.json, config.max_positions, source.where);
  for (const LayerConfig& layer : config.layers) {
    if (!layer.attention) continue;
    const std::int64_t turning = rotary_dim(config.rope, layer.attention->head_dim);
    if (turning < 2 || turning % 2 != 0)
      fail(ErrorKind::mismatch, source.where, ": ", turning, " of ", layer.attention->head_dim,
           " components of a head would turn ('", source.family.keys.rotary_share, "'); rotary embeddings need pairs");
    const std::size_t factors = config.rope.short_factors.size(), pairs = static_cast<std::size_t>(turning / 2);
    if (config.rope.scaling == RopeScaling::longrope && (factors != pairs || config.rope.long_factors.size() != pairs))
      fail(ErrorKind::mismatch, source.where, ": 'short_factor' has ", factors, " and 'long_factor' ",
           config.rope.long_factors.size(), " entries; ", pairs, " pairs of components turn");
  }
}

bool read_normalised_head(const ConfigSource& source, std::int64_t vocab) {
  const NormalisedHead& rule = source.family.traits.normalised_head;
  return !rule.key.empty() && (vocab == rule.vocab || is_present(source.json, rule.key));
}

void add_extension_layers(const ConfigSource& source, std::vector<LayerConfig>& layers) {
  const auto count = static_cast<std::int64_t>(layers.size());
  for (const auto& [index, layer] : extension_layers(source.json, count, source.where))
    layers[static_cast<std::size_t>(index)] = layer;
}

}  // namespace

bool is_present(const Json& json, std::string_view key) {
  const auto found = json.find(std::string(key));
  return found != json.end() && !found->is_null();
}

std::int64_t dimension(const ConfigSource& source, std::string_view key, std::optional<std::int64_t> otherwise,
                       std::int64_t largest) {
  const std::optional<std::int64_t> given = key.empty() ? std::nullopt : json_integer(source.json, key, source.where);
  if (!given && !otherwise) fail(ErrorKind::format, source.where, ": lacks '", key, "'");
  return checked_dimension(given.value_or(otherwise.value_or(0)), key, source.where, largest);
}

bool read_flag(const ConfigSource& source, const FlagRule& rule) {
  if (rule.key.empty()) return rule.otherwise;
  return json_bool(source.json, rule.key, source.where).value_or(rule.otherwise);
}

std::optional<double> read_number(const ConfigSource& source, const NumberRule& rule) {
  if (rule.key.empty() || !source.json.contains(std::string(rule.key))) return rule.otherwise;
  const std::optional<double> number = json_number(source.json, rule.key, source.where);
  if (number && !std::isfinite(*number))
    fail(ErrorKind::format, source.where, ": '", rule.key, "' is ", *number, "; expected a finite number");
  return number;
}

bool is_ordinary(const LayerConfig& layer) { return layer.whole() || layer.partial; }

std::int64_t rotary_dim(const RopeConfig& rope, std::int64_t head_dim) {
  return static_cast<std::int64_t>(static_cast<double>(head_dim) * rope.rotated_share);
}

Config config_from_json(const Json& whole, const std::string& where) {
  if (!whole.is_object()) fail(ErrorKind::format, where, ": not a JSON object");
  const std::string text_key = has_extension(whole) ? std::string() : text_config_key(whole);
  const Json json = text_part(whole, text_key);
  const Family& family = read_family(json, where);
  const ConfigSource source{json, family, where};
  check_supported(source);
  Config config;
  config.family = &family;
  config.hidden = dimension(source, family.keys.hidden);
  config.vocab = dimension(source, family.keys.vocab, family.defaults.vocab);
  config.max_positions = dimension(source, family.keys.max_positions, family.defaults.max_positions, kMaxPositions);
  config.embedding_width = read_embedding_width(source, config.hidden);
  config.norm_epsilon = read_epsilon(source);
  config.tied_embeddings = json_bool(json, "tie_word_embeddings", where).value_or(family.defaults.tied_embeddings);
  config.layers = read_layers(source, config.hidden);
  config.final_norm = config.layers.front().residual != Residual::norm_after_sum;
  config.normalised_head = read_normalised_head(source, config.vocab);
  config.scale = read_scales(source, config.hidden);
  add_extension_layers(source, config.layers);
  if (family.traits.position == Position::rope) read_ropes(source, config);
  config.dtype = read_dtype(source);
  config.bos = read_token(source, "bos_token_id");
  config.eos = read_token(source, "eos_token_id");
  config.json = json;
  config.text_key = text_key;
  if (!text_key.empty()) config.whole = whole;
  config.multimodal = is_multimodal(whole);
  return config;
}

}  // namespace streamline
