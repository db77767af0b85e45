// SPDX-License-Identifier: Apache-2.0
// The layers that config.json describes: one shape for all, then what differs from layer to layer.
#include <algorithm>
#include <cmath>

#include "streamline/arch/activation.h"
#include "streamline/arch/config_source.h"
#include "streamline/arch/layer_pattern.h"
#include "streamline/arch/layer_shapes.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr std::int64_t kMaxExperts = 4096, kMaxExpertsInAll = 100'000;

std::int64_t read_head_dim(const ConfigSource& source, std::int64_t hidden, std::int64_t heads) {
  const ConfigKeys& keys = source.family.keys;
  const bool given = !keys.head_dim.empty() && is_present(source.json, keys.head_dim);
  // transformers takes null for the quotient, and a missing key for the family's own default.
  const bool missing = keys.head_dim.empty() || !source.json.contains(std::string(keys.head_dim));
  const std::optional<std::int64_t> by_default = missing ? source.family.defaults.head_dim : std::nullopt;
  if (!given && !by_default && hidden % heads != 0)
    fail(ErrorKind::mismatch, source.where, ": '", keys.hidden, "' ", hidden, " is not a multiple of '", keys.heads,
         "' ", heads);
  const std::int64_t head_dim = dimension(source, keys.head_dim, by_default.value_or(hidden / heads));
  if (source.family.traits.position == Position::rope && head_dim % 2 != 0)
    fail(ErrorKind::mismatch, source.where, ": the head dimension ", head_dim, " is odd; rotary embeddings need pairs");
  return head_dim;
}

// The factor of the scores where it is not 1 / sqrt(head_dim).
std::optional<double> read_score_scale(const ConfigSource& source, std::int64_t head_dim) {
  const ScaleRules& rules = source.family.traits.scale;
  std::optional<double> scale = read_number(source, rules.attention);
  if (const std::optional<double> root = read_number(source, rules.attention_root)) {
    if (*root <= 0)
      fail(ErrorKind::format, source.where, ": '", rules.attention_root.key, "' is ", *root,
           "; expected a positive number");
    scale = 1 / std::sqrt(*root);
  }
  return scale == 1 / std::sqrt(static_cast<double>(head_dim)) ? std::nullopt : scale;
}

// Of layers that do not turn their heads.
std::optional<QueryTemperature> read_temperature(const ConfigSource& source) {
  if (!source.family.traits.query_temperature) return std::nullopt;
  constexpr const char* kUse = "attn_temperature_tuning";  // early files have a number here
  const auto use = source.json.find(kUse);
  const bool off = use != source.json.end() && (*use == Json(false) || *use == Json(0) || use->is_null());
  if (off) return std::nullopt;
  const QueryTemperature temperature{.scale = json_number(source.json, "attn_scale", source.where).value_or(0.1),
                                     .floor = json_number(source.json, "floor_scale", source.where).value_or(8192)};
  if (!(temperature.floor > 0) || !std::isfinite(temperature.floor) || !std::isfinite(temperature.scale))
    fail(ErrorKind::format, source.where, ": 'floor_scale' is ", temperature.floor, " and 'attn_scale' ",
         temperature.scale, "; expected a positive number and a number");
  return temperature;
}

AttentionConfig read_attention(const ConfigSource& source, std::int64_t hidden) {
  const Family& family = source.family;
  const ConfigKeys& keys = family.keys;
  AttentionConfig attention;
  attention.heads = dimension(source, keys.heads, family.defaults.heads);
  // transformers takes null for the number of heads, and a missing key for the family's own default.
  const bool missing = !keys.kv_heads.empty() && !source.json.contains(std::string(keys.kv_heads));
  const std::optional<std::int64_t> by_default = missing ? family.defaults.kv_heads : std::nullopt;
  attention.kv_heads = dimension(source, keys.kv_heads, by_default.value_or(attention.heads));
  if (attention.heads % attention.kv_heads != 0)
    fail(ErrorKind::mismatch, source.where, ": '", keys.heads, "' ", attention.heads, " is not a multiple of '",
         keys.kv_heads, "' ", attention.kv_heads);
  attention.head_dim = read_head_dim(source, hidden, attention.heads);
  if (attention.heads * attention.head_dim > kMaxDimension)
    fail(ErrorKind::format, source.where, ": ", attention.heads, " heads of ", attention.head_dim, " are wider than ",
         kMaxDimension);
  attention.qk_norm = read_flag(source, family.traits.qk_norm_used) ? family.traits.qk_norm : QkNorm::none;
  attention.qkv_bias = read_flag(source, family.traits.qkv_bias);
  // vLLM's spelling for biases on q, k and v alone (Qwen2 as DeciLM).
  if (family.traits.block_configs)
    attention.qkv_bias = read_flag(source, {.key = "qkv_bias", .otherwise = attention.qkv_bias});
  attention.o_bias = read_flag(source, family.traits.o_bias);
  attention.norm = has_role(family, Role::attention_norm);
  attention.post_norm = has_role(family, Role::attention_post_norm);
  attention.layout = family.traits.qkv;
  attention.scale = read_score_scale(source, attention.head_dim);
  attention.softcap = read_number(source, family.traits.scale.attention_softcap).value_or(0);
  return attention;
}

Activation read_activation(const ConfigSource& source) {
  const std::string_view key = source.family.keys.activation;
  const std::string name =
      json_string(source.json, key, source.where).value_or(std::string(source.family.defaults.activation));
  const std::optional<Activation> activation = parse_activation(name);
  if (!activation)
    fail(ErrorKind::unsupported, source.where, ": the activation '", name, "' (", key,
         ") is not supported; supported are silu, relu, gelu, gelu_new, gelu_pytorch_tanh");
  return *activation;
}

MlpConfig read_mlp(const ConfigSource& source, std::int64_t hidden) {
  const Family& family = source.family;
  std::optional<std::int64_t> otherwise;
  if (family.defaults.intermediate) otherwise = hidden * *family.defaults.intermediate;
  MlpConfig mlp{.intermediate = dimension(source, family.keys.intermediate, otherwise),
                .gated = family.traits.gated_mlp,
                .activation = read_activation(source),
                .norm = has_role(family, Role::mlp_norm),
                .bias = read_flag(source, family.traits.mlp_bias),
                .post_norm = has_role(family, Role::mlp_post_norm),
                .fused_gate = has_role(family, Role::gate_up)};
  mlp.shared_norm = !mlp.norm && !mlp.post_norm;
  return mlp;
}

std::int64_t read_expert_count(const ConfigSource& source, const ExpertsRule& rule) {
  const bool alias = !is_present(source.json, rule.count_key) && !rule.count_alias.empty();
  return dimension(source, alias ? rule.count_alias : rule.count_key, rule.count, kMaxExperts);
}

// The MLP of a sparse layer, otherwise as `dense`.
MlpConfig read_sparse_mlp(const ConfigSource& source, MlpConfig dense, std::int64_t layers) {
  const ExpertsRule& rule = *source.family.experts;
  ExpertsConfig experts{.count = read_expert_count(source, rule),
                        .active = dimension(source, rule.active_key, rule.active, kMaxExperts),
                        .renormalised = read_flag(source, rule.renormalised),
                        .stacked = rule.stacked,
                        .scales_input = rule.scales_input};
  if (experts.active > experts.count)
    fail(ErrorKind::mismatch, source.where, ": '", rule.active_key, "' is ", experts.active, ", of ", experts.count,
         " experts");
  if (experts.count * layers > kMaxExpertsInAll)
    fail(ErrorKind::format, source.where, ": ", layers, " layers of ", experts.count, " experts are more than ",
         kMaxExpertsInAll);
  if (!rule.shared_key.empty()) {
    experts.shared = dimension(source, rule.shared_key, rule.shared);
    experts.shared_routed = has_role(source.family, Role::shared_router);
  }
  std::optional<std::int64_t> otherwise;
  if (rule.intermediate > 0) otherwise = rule.intermediate;
  dense.intermediate = dimension(source, rule.intermediate_key, otherwise);
  dense.experts = experts;
  return dense;
}

Residual read_residual(const ConfigSource& source) {
  const Traits& traits = source.family.traits;
  if (!read_flag(source, traits.norm_before)) return Residual::norm_after_sum;
  return read_flag(source, traits.parallel) ? Residual::parallel : Residual::sequential;
}

}  // namespace

std::vector<LayerConfig> read_layers(const ConfigSource& source, std::int64_t hidden) {
  const std::int64_t count = dimension(source, source.family.keys.layers, {}, kMaxLayers);
  const LayerPattern pattern = layer_pattern(source.family, source.json, count, source.where);
  const LayerConfig ordinary{read_attention(source, hidden), read_mlp(source, hidden), read_residual(source)};
  const bool some_sparse = std::find(pattern.sparse.begin(), pattern.sparse.end(), true) != pattern.sparse.end();
  std::optional<MlpConfig> sparse;
  if (some_sparse) sparse = read_sparse_mlp(source, *ordinary.mlp, count);
  const std::optional<QueryTemperature> temperature = read_temperature(source);
  std::vector<LayerConfig> layers(static_cast<std::size_t>(count), ordinary);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    AttentionConfig& attention = *layers[i].attention;
    if (pattern.sliding[i]) (sees_chunks(source.family) ? attention.chunk : attention.window) = pattern.window;
    attention.rope = pattern.rope[i];
    if (attention.rope == RopeUse::none) {
      attention.temperature = temperature;
      if (attention.qk_norm == QkNorm::unit) attention.qk_norm = QkNorm::none;
    }
    if (pattern.sparse[i]) layers[i].mlp = sparse;
  }
  if (source.family.traits.block_configs) read_block_configs(source, hidden, layers);
  read_per_layer_config(source, layers);
  return layers;
}

}  // namespace streamline
