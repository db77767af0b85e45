// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/layer_json.h"

#include <algorithm>

#include "streamline/arch/activation.h"
#include "streamline/base/error.h"

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
  bool flag(const char* key) {
    const std::optional<bool> value = json_bool(seen(key), key, where_);
    if (!value) fail(ErrorKind::format, where_, ": '", key, "' is missing");
    return *value;
  }
  std::string text(const char* key) {
    const std::optional<std::string> value = json_string(seen(key), key, where_);
    if (!value) fail(ErrorKind::format, where_, ": '", key, "' is missing");
    return *value;
  }
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

AttentionConfig attention_from_json(const Json& json, const std::string& where) {
  Members members(json, where);
  AttentionConfig attention{.heads = members.size("heads"),
                            .kv_heads = members.size("kv_heads"),
                            .head_dim = members.size("head_dim"),
                            .qk_norm = members.flag("qk_norm"),
                            .qkv_bias = members.flag("qkv_bias"),
                            .o_bias = members.flag("o_bias")};
  if (members.has("window")) attention.window = members.size("window");
  members.finish();
  if (attention.heads % attention.kv_heads != 0)
    fail(ErrorKind::format, where, ": ", attention.heads, " heads do not divide among ", attention.kv_heads,
         " key/value heads");
  return attention;
}

MlpConfig mlp_from_json(const Json& json, const std::string& where) {
  Members members(json, where);
  const MlpConfig mlp{.intermediate = members.size("intermediate"),
                      .gated = members.flag("gated"),
                      .activation = activation_from_name(members.text("activation"), where),
                      .norm = members.flag("norm"),
                      .residual = members.flag("residual"),
                      .bias = members.flag("bias")};
  members.finish();
  return mlp;
}

}  // namespace

Json to_json(const LayerConfig& layer) {
  Json json = Json::object();
  if (layer.attention) {
    const AttentionConfig& attention = *layer.attention;
    json["attention"] = {{"heads", attention.heads},       {"kv_heads", attention.kv_heads},
                         {"head_dim", attention.head_dim}, {"qk_norm", attention.qk_norm},
                         {"qkv_bias", attention.qkv_bias}, {"o_bias", attention.o_bias}};
    if (attention.window) json["attention"]["window"] = *attention.window;
  }
  if (layer.mlp) {
    json["mlp"] = {{"intermediate", layer.mlp->intermediate},
                   {"gated", layer.mlp->gated},
                   {"activation", activation_name(layer.mlp->activation)},
                   {"norm", layer.mlp->norm},
                   {"residual", layer.mlp->residual},
                   {"bias", layer.mlp->bias}};
  }
  return json;
}

LayerConfig layer_from_json(const Json& json, const std::string& where) {
  Members members(json, where);
  LayerConfig layer;
  if (members.has("attention"))
    layer.attention = attention_from_json(members.object("attention"), where + ".attention");
  if (members.has("mlp")) layer.mlp = mlp_from_json(members.object("mlp"), where + ".mlp");
  members.finish();
  return layer;
}

}  // namespace streamline
