// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/layer_json.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "streamline/arch/activation.h"
#include "streamline/base/error.h"
#include "streamline/base/json_fields.h"

namespace streamline {

namespace {

// Below this no product of two sizes overflows.
constexpr std::int64_t kLargestSize = kMaxDimension;

Activation activation_from_name(const std::string& name, const std::string& where) {
  const std::optional<Activation> activation = parse_activation(name);
  if (!activation) fail(ErrorKind::format, where, ": unknown activation '", name, "'");
  return *activation;
}

// Reads the members of one object and, at the end, refuses those that nobody asked for.
class Members {
 public:
  Members(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json.is_object()) fail(ErrorKind::format, where_, " is not a JSON object");
  }
  std::int64_t size(const char* key) {
    const std::optional<std::int64_t> value = json_integer(seen(key), key, where_);
    if (!value || *value < 1 || *value > kLargestSize)
      fail(ErrorKind::format, where_, ": '", key, "' is not a size between 1 and ", kLargestSize);
    return *value;
  }
  bool flag(const char* key) { return required(json_bool(seen(key), key, where_), key, where_); }
  bool flag_or(const char* key, bool otherwise) { return has(key) ? flag(key) : otherwise; }
  double number(const char* key) {
    const std::optional<double> value = json_number(seen(key), key, where_);
    if (!value || !std::isfinite(*value)) fail(ErrorKind::format, where_, ": '", key, "' is not a number");
    return *value;
  }
  std::string text(const char* key) { return required(json_string(seen(key), key, where_), key, where_); }
  bool has(const char* key) {
    const auto found = seen(key).find(key);
    return found != json_.end() && !found->is_null();
  }
  const Json& object(const char* key) { return *seen(key).find(key); }
  void finish() const {
    for (const auto& [key, value] : json_.items()) {
      if (std::find(keys_.begin(), keys_.end(), key) == keys_.end())
        fail(ErrorKind::format, where_, ": unknown key '", key, "'; was it written by a newer version?");
    }
  }

 private:
  const Json& seen(const char* key) {
    keys_.push_back(key);
    return json_;
  }
  const Json& json_;
  std::string where_;
  std::vector<std::string> keys_;
};

template <class Enum>
struct Name {
  std::string_view name;
  Enum value;
};
constexpr std::array kQkNorms = {Name{"head", QkNorm::head}, Name{"whole", QkNorm::whole}, Name{"unit", QkNorm::unit},
                                 Name{"none", QkNorm::none}};
constexpr std::array kLayouts = {Name{"apart", QkvLayout::apart}, Name{"stacked", QkvLayout::stacked},
                                 Name{"grouped", QkvLayout::grouped}};
constexpr std::array kRopeUses = {Name{"global", RopeUse::global}, Name{"local", RopeUse::local},
                                  Name{"none", RopeUse::none}};
constexpr std::array kResiduals = {Name{"sequential", Residual::sequential}, Name{"parallel", Residual::parallel},
                                   Name{"norm_after_sum", Residual::norm_after_sum}};

template <class Names, class Enum>
std::string_view name_of(const Names& names, Enum value) {
  for (const auto& entry : names)
    if (entry.value == value) return entry.name;
  fail(ErrorKind::internal, "a layer's shape has no name");
}

// Keys that are there only where they differ from the plainest layer, so that most files stay as they were.
template <class Names>
auto named_member(Members& members, const char* key, const Names& names, const std::string& where) {
  if (!members.has(key)) return names[0].value;
  const std::string text = members.text(key);
  for (const auto& entry : names)
    if (entry.name == text) return entry.value;
  fail(ErrorKind::format, where, ": '", key, "' is \"", text, "\"");
}

// `true` and `false` for norms of heads and none; "whole" for norms over all heads.
QkNorm qk_norm_from_json(Members& members, const Json& json, const std::string& where) {
  const auto found = json.find("qk_norm");
  if (found != json.end() && found->is_string()) return named_member(members, "qk_norm", kQkNorms, where);
  return members.flag("qk_norm") ? QkNorm::head : QkNorm::none;
}

ExpertsConfig experts_from_json(const Json& json, const std::string& where) {
  Members members(json, where);
  ExpertsConfig experts{
      .count = members.size("count"), .active = members.size("active"), .renormalised = members.flag("renormalised")};
  if (members.has("shared")) experts.shared = members.size("shared");
  experts.shared_routed = members.flag_or("shared_routed", true);
  experts.stacked = members.flag_or("stacked", false);
  experts.scales_input = members.flag_or("scales_input", false);
  members.finish();
  constexpr std::int64_t kMost = 4096;
  if (experts.active > experts.count || experts.count > kMost)
    fail(ErrorKind::format, where, ": ", experts.active, " of ", experts.count, " experts; expected at most ", kMost);
  return experts;
}

QueryTemperature temperature_from_json(const Json& json, const std::string& where) {
  Members members(json, where);
  const QueryTemperature temperature{.scale = members.number("scale"), .floor = members.number("floor")};
  members.finish();
  if (temperature.floor <= 0) fail(ErrorKind::format, where, ": 'floor' is ", temperature.floor, "; expected above 0");
  return temperature;
}

AttentionConfig attention_from_json(const Json& json, const std::string& where) {
  Members members(json, where);
  AttentionConfig attention{.heads = members.size("heads"),
                            .kv_heads = members.size("kv_heads"),
                            .head_dim = members.size("head_dim"),
                            .qk_norm = qk_norm_from_json(members, json, where),
                            .qkv_bias = members.flag("qkv_bias"),
                            .o_bias = members.flag("o_bias")};
  if (members.has("window")) attention.window = members.size("window");
  attention.norm = members.flag_or("norm", true);
  attention.post_norm = members.flag_or("post_norm", false);
  attention.layout = named_member(members, "layout", kLayouts, where);
  attention.rope = named_member(members, "rope", kRopeUses, where);
  if (members.has("scale")) attention.scale = members.number("scale");
  if (members.has("softcap")) attention.softcap = members.number("softcap");
  if (members.has("chunk")) attention.chunk = members.size("chunk");
  if (members.has("temperature"))
    attention.temperature = temperature_from_json(members.object("temperature"), where + ".temperature");
  members.finish();
  if (attention.heads % attention.kv_heads != 0)
    fail(ErrorKind::format, where, ": ", attention.heads, " heads do not divide among ", attention.kv_heads,
         " key/value heads");
  return attention;
}

MlpConfig mlp_from_json(const Json& json, const std::string& where) {
  Members members(json, where);
  MlpConfig mlp{.intermediate = members.size("intermediate"),
                .gated = members.flag("gated"),
                .activation = activation_from_name(members.text("activation"), where),
                .norm = members.flag("norm"),
                .residual = members.flag("residual"),
                .bias = members.flag("bias"),
                .post_norm = members.flag_or("post_norm", false),
                .shared_norm = members.flag_or("shared_norm", false),
                .fused_gate = members.flag_or("fused_gate", false)};
  if (members.has("experts")) mlp.experts = experts_from_json(members.object("experts"), where + ".experts");
  members.finish();
  return mlp;
}

// What differs from the plainest layer.
void add_unusual(const AttentionConfig& attention, Json& json) {
  if (attention.qk_norm == QkNorm::whole || attention.qk_norm == QkNorm::unit)
    json["qk_norm"] = name_of(kQkNorms, attention.qk_norm);
  if (attention.window) json["window"] = *attention.window;
  if (!attention.norm) json["norm"] = false;
  if (attention.post_norm) json["post_norm"] = true;
  if (attention.layout != QkvLayout::apart) json["layout"] = name_of(kLayouts, attention.layout);
  if (attention.rope != RopeUse::global) json["rope"] = name_of(kRopeUses, attention.rope);
  if (attention.scale) json["scale"] = *attention.scale;
  if (attention.softcap != 0) json["softcap"] = attention.softcap;
  if (attention.chunk) json["chunk"] = *attention.chunk;
  if (attention.temperature)
    json["temperature"] = {{"scale", attention.temperature->scale}, {"floor", attention.temperature->floor}};
}

void add_unusual(const MlpConfig& mlp, Json& json) {
  if (mlp.post_norm) json["post_norm"] = true;
  if (mlp.shared_norm) json["shared_norm"] = true;
  if (mlp.fused_gate) json["fused_gate"] = true;
  if (!mlp.experts) return;
  json["experts"] = {
      {"count", mlp.experts->count}, {"active", mlp.experts->active}, {"renormalised", mlp.experts->renormalised}};
  if (mlp.experts->shared > 0) json["experts"]["shared"] = mlp.experts->shared;
  if (!mlp.experts->shared_routed) json["experts"]["shared_routed"] = false;
  if (mlp.experts->stacked) json["experts"]["stacked"] = true;
  if (mlp.experts->scales_input) json["experts"]["scales_input"] = true;
}

}  // namespace

Json to_json(const LayerConfig& layer) {
  Json json = Json::object();
  if (layer.attention) {
    const AttentionConfig& attention = *layer.attention;
    json["attention"] = {{"heads", attention.heads},       {"kv_heads", attention.kv_heads},
                         {"head_dim", attention.head_dim}, {"qk_norm", attention.qk_norm != QkNorm::none},
                         {"qkv_bias", attention.qkv_bias}, {"o_bias", attention.o_bias}};
    add_unusual(attention, json["attention"]);
  }
  if (layer.mlp) {
    json["mlp"] = {{"intermediate", layer.mlp->intermediate},
                   {"gated", layer.mlp->gated},
                   {"activation", activation_name(layer.mlp->activation)},
                   {"norm", layer.mlp->norm},
                   {"residual", layer.mlp->residual},
                   {"bias", layer.mlp->bias}};
    add_unusual(*layer.mlp, json["mlp"]);
  }
  if (layer.residual != Residual::sequential) json["residual"] = name_of(kResiduals, layer.residual);
  return json;
}

LayerConfig layer_from_json(const Json& json, const std::string& where) {
  Members members(json, where);
  LayerConfig layer;
  if (members.has("attention"))
    layer.attention = attention_from_json(members.object("attention"), where + ".attention");
  if (members.has("mlp")) layer.mlp = mlp_from_json(members.object("mlp"), where + ".mlp");
  layer.residual = named_member(members, "residual", kResiduals, where);
  members.finish();
  return layer;
}

}  // namespace streamline
