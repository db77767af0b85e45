// SPDX-License-Identifier: Apache-2.0
// A model family as data: tensor names by role, configuration keys, traits. Nothing else in the program knows a
// family's name. Each family is one file in families/ and one line in families/families.def.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "streamline/arch/role.h"
#include "streamline/base/json.h"

namespace streamline {

enum class Norm { rms, layer };
enum class Activation { silu, relu, gelu, gelu_tanh };
enum class Position { rope, learned };
// Which layers have a sliding window when config.json has no `layer_types`.
enum class WindowRule {
  none,                    // no window, whatever the config says
  all,                     // `sliding_window` in every layer (Mistral)
  from_max_window_layers,  // layers >= max_window_layers, if use_sliding_window (Qwen2, Qwen3)
};

// Tensor name of a role without ".weight" / ".bias".
struct RoleName {
  Role role;
  std::string_view name;
};

// config.json keys; empty where the family has no such key.
struct ConfigKeys {
  std::string_view hidden = "hidden_size";
  std::string_view layers = "num_hidden_layers";
  std::string_view heads = "num_attention_heads";
  std::string_view kv_heads = "num_key_value_heads";
  std::string_view head_dim = "head_dim";
  std::string_view intermediate = "intermediate_size";
  std::string_view activation = "hidden_act";
  std::string_view norm_epsilon = "rms_norm_eps";
  std::string_view max_positions = "max_position_embeddings";
  std::string_view vocab = "vocab_size";
  std::string_view embedding_width = "";  // must equal `hidden` where it is present (OPT)
};

// Whether a group of matrices has biases: what config.json says under `key`, else `otherwise`.
struct BiasRule {
  std::string_view key = "";
  bool otherwise = false;
};

struct Traits {
  Norm norm = Norm::rms;
  bool gated_mlp = true;
  bool qk_norm = false;
  Position position = Position::rope;
  std::int64_t position_offset = 0;  // rows of the position table before position 0
  WindowRule window = WindowRule::none;
  BiasRule qkv_bias = {}, o_bias = {}, mlp_bias = {};
  bool mlp_biases_foldable = false;  // plain-FFN layers have biases (OPT): a bias FFN is an ordinary layer
};

// What a missing key means.
struct FamilyDefaults {
  bool tied_embeddings = false;
  double rope_theta = 10000;
  double norm_epsilon = 1e-6;
  std::string_view activation = "silu";
  std::optional<std::int64_t> head_dim = {};  // else hidden / heads
  std::optional<std::int64_t> kv_heads = {};  // else heads
  std::optional<std::int64_t> sliding_window = {};
  std::int64_t max_window_layers = 0;
  std::optional<std::int64_t> max_positions = {};
};

// A key that changes the computation: only these values are supported; others are an error naming the key.
struct RequiredValue {
  std::string_view key;
  Json allowed;  // an array of allowed values; absent and null are always allowed
};

struct Family {
  std::string_view name;                                                      // "llama"
  std::string_view title;                                                     // "Llama 1, 2 and 3"
  std::vector<std::string_view> model_types;                                  // values of config.json's model_type
  std::string_view layer_prefix;                                              // "model.layers."; then the index and "."
  std::vector<RoleName> layer_names;                                          // after the index: "self_attn.q_proj"
  std::vector<RoleName> global_names;                                         // "model.embed_tokens"
  std::vector<std::string_view> ignored_suffixes = {".rotary_emb.inv_freq"};  // buffers to skip and drop
  ConfigKeys keys = {};
  Traits traits = {};
  FamilyDefaults defaults = {};
  std::vector<RequiredValue> required = {};
};

// In the order of families/families.def.
std::span<const Family* const> families();
const Family* find_family(std::string_view model_type);  // nullptr when unknown

}  // namespace streamline
