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
enum class QkNorm {
  none,
  head,   // over each head of q and k
  whole,  // over all heads together
  unit,   // over each head, without weights; in layers that turn their heads (Llama 4)
};
enum class Activation { silu, relu, gelu, gelu_tanh };
enum class Position { rope, learned };
// How q, k and v lie in their tensors.
enum class QkvLayout {
  apart,    // a matrix each
  stacked,  // one matrix: the rows of q, then k, then v
  grouped,  // one matrix: a group's query heads, then its key and its value head, group after group
};
// How the halves of a layer meet the residual stream.
enum class Residual {
  sequential,      // the MLP reads what the attention left
  parallel,        // both read what entered the layer
  norm_after_sum,  // the norm of a half follows its sum with the stream (OPT-350M)
};
// Which layers have a sliding window when config.json has no `layer_types`.
enum class WindowRule {
  none,                     // no window, whatever the config says
  all,                      // `sliding_window` in every layer (Mistral)
  all_if_used,              // the same, if use_sliding_window (Qwen3-MoE)
  from_max_window_layers,   // layers >= max_window_layers, if use_sliding_window (Qwen2, Qwen3)
  below_max_window_layers,  // every other layer, the first included, below it, if use_sliding_window (Qwen2-MoE)
  unrotated,                // layers without rotary embedding, if use_sliding_window (SmolLM3)
  periodic,                 // all but every period-th layer (Gemma)
  chunks_if_rotated,        // layers with rotary embedding see no further back than their chunk (Llama 4)
};
// Which rotary embedding the layers have.
enum class RopeRule {
  everywhere,        // the same in every layer
  listed,            // none where `no_rope_layers` has a zero, else in every no_rope_layer_interval-th layer (SmolLM3)
  sliding_only,      // none in layers without window (Cohere 2)
  local_in_sliding,  // layers with a window have a base of their own and no scaling (Gemma 3)
};

// Tensor name of a role without ".weight" / ".bias".
struct RoleName {
  Role role;
  std::string_view name;
  bool bare = false;  // the tensor is called so, without ".weight"
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
  std::string_view max_positions_alias = "";  // another spelling, written always: some readers know only that
  std::string_view vocab = "vocab_size";
  std::string_view embedding_width = "";  // where it is not `hidden` the embeddings are projected (OPT)
  std::string_view rope_theta = "rope_theta";
  std::string_view local_rope_theta = "";  // of RopeRule::local_in_sliding
  std::string_view rotary_share = "";      // of each head; families without it turn whole heads
  std::string_view window_period = "";
};

// A switch: what config.json says under `key`, else `otherwise`.
struct FlagRule {
  std::string_view key = "";
  bool otherwise = false;
};

// A number: what config.json says under `key`; `otherwise` where the key is missing. Null is the same as no rule.
struct NumberRule {
  std::string_view key = "";
  std::optional<double> otherwise = {};
};

// Factors and caps beside the plain arithmetic.
struct ScaleRules {
  bool root_of_hidden = false;        // embeddings times sqrt(hidden)
  NumberRule embedding = {};          // embeddings times this
  NumberRule residual = {};           // what a half adds to the stream, times this
  NumberRule attention = {};          // scores q k, times this instead of 1 / sqrt(head_dim)
  NumberRule attention_root = {};     // the same, 1 / sqrt of this
  NumberRule attention_softcap = {};  // scores capped: c tanh(score / c)
  NumberRule logits = {};             // logits times this
  NumberRule logits_divisor = {};     // logits over this
  NumberRule logit_softcap = {};
};

// Heads whose rows have length one: where the vocabulary has this size, or config.json this key (Baichuan 2).
struct NormalisedHead {
  std::int64_t vocab = 0;
  std::string_view key = "";
};

struct Traits {
  Norm norm = Norm::rms;
  bool norm_bias = true;   // of Norm::layer
  double norm_offset = 0;  // added to the weight: x * (offset + w)
  bool gated_mlp = true;
  QkNorm qk_norm = QkNorm::none;
  FlagRule qk_norm_used = {.otherwise = true};  // of QkNorm::unit
  QkvLayout qkv = QkvLayout::apart;
  bool transposed = false;                     // matrices of layers are stored [in, out]
  FlagRule parallel = {};                      // Residual::parallel
  FlagRule norm_before = {.otherwise = true};  // false: Residual::norm_after_sum, and no final norm
  Position position = Position::rope;
  std::int64_t position_offset = 0;  // rows of the position table before position 0
  bool neighbours_rotate = false;    // component 2j turns with 2j + 1, not j with j + dim / 2
  RopeRule rope = RopeRule::everywhere;
  WindowRule window = WindowRule::none;
  bool query_temperature = false;  // attn_temperature_tuning: queries grow with their position where heads do not turn
  FlagRule qkv_bias = {}, o_bias = {}, mlp_bias = {};
  bool head_bias = false;
  NormalisedHead normalised_head = {};
  ScaleRules scale = {};
  bool mlp_biases_foldable = false;  // plain-FFN layers have biases (OPT): a bias FFN is an ordinary layer
  bool block_configs = false;        // each layer has its own widths, and may lack a half (layer_shapes.h)
};

// A sparse MLP: the names and keys of its experts.
struct ExpertsRule {
  std::string_view prefix;            // after the layer's index: "mlp.experts."; then the expert's index and "."
  std::vector<RoleName> names;        // gate, up and down of an expert
  std::string_view count_key;         // number of experts
  std::string_view count_alias = "";  // another spelling of count_key, read where that is absent, written always
  std::string_view active_key = "num_experts_per_tok";
  std::string_view intermediate_key = "moe_intermediate_size";
  std::string_view shared_key = "";                                  // width of the shared expert
  std::int64_t count = 0, active = 0, intermediate = 0, shared = 0;  // what missing keys mean
  FlagRule renormalised = {};  // whether the shares of the chosen experts add up to one
  bool dense_layers = false;   // mlp_only_layers and decoder_sparse_step say which layers are not sparse
  bool sparse_listed = false;  // moe_layers says which are, else interleave_moe_layer_step (Llama 4)
  bool stacked = false;        // one tensor has the matrices of all (Role::stacked_gate_up, stacked_down)
  bool scales_input = false;   // a share is the sigmoid of the expert's own logit, and multiplies what it reads
};

// What a missing key means.
struct FamilyDefaults {
  bool tied_embeddings = false;
  double rope_theta = 10000;
  double local_rope_theta = 10000;
  double rotary_share = 1;
  double norm_epsilon = 1e-6;
  std::string_view activation = "silu";
  std::optional<std::int64_t> vocab = {}, heads = {};  // else required
  std::optional<std::int64_t> head_dim = {};           // else hidden / heads
  std::optional<std::int64_t> kv_heads = {};           // else heads
  std::optional<std::int64_t> intermediate = {};       // in units of hidden; else required
  std::optional<std::int64_t> sliding_window = {};
  std::int64_t window_period = 0;
  std::int64_t max_window_layers = 0;
  std::optional<std::int64_t> max_positions = {};
};

// A key that changes the computation: only these values are supported; others are an error naming the key.
struct RequiredValue {
  std::string_view key;
  Json allowed;         // an array of allowed values; absent and null are allowed too
  bool needed = false;  // unless the key has to be there
};

// What config.json has under a key.
struct GivenValue {
  std::string_view key;
  Json value;
};

// How GGUF files have the family, and what llama.cpp computes for it: nothing else may be written. Tensors are named by
// role, alike for all families but for `names`; Traits::norm_offset is part of the stored weights.
struct GgufTraits {
  std::string_view arch = "";             // general.architecture; empty: there is none
  bool interleaved_qk = false;            // in each head of q and k the rows of the two halves alternate
  std::vector<RoleName> names = {};       // roles that are called otherwise than elsewhere
  bool windows = false;                   // layers may slide: defaults.window_period, or a list of them
  bool square_attention = false;          // heads * head_dim has to be the hidden size
  bool own_head = false;                  // a head of its own is needed; a tied one is written once more
  bool tied_head = false;                 // the head is the embedding, always
  bool o_bias = false, mlp_bias = false;  // are added where they are stored (those of q, k and v always)
  bool rope_factors = false;              // rope_freqs.weight is read
  bool long_factors = false;              // rope_factors_long.weight and rope_factors_short.weight are read
  bool softcap = false;                   // scores are capped, always
  bool renormalised = false;              // the shares of the chosen experts add up to one
  bool sparse_steps = false;              // every n-th layer has experts, else all
  std::int64_t unnormed_experts = 0;      // q and k are not normed where there are so many experts (QkNorm::unit)
  std::vector<GivenValue> given = {};     // what its files do not say because it is always so
};

struct Family {
  std::string_view name;                                                      // "llama"
  std::string_view title;                                                     // "Llama 1, 2 and 3"
  std::string_view about = "";                                                // what it has beside Llama, for people
  std::vector<std::string_view> model_types;                                  // values of config.json's model_type
  std::string_view layer_prefix;                                              // "model.layers."; then the index and "."
  std::vector<RoleName> layer_names;                                          // after the index: "self_attn.q_proj"
  std::vector<RoleName> global_names;                                         // "model.embed_tokens"
  std::vector<std::string_view> ignored_suffixes = {".rotary_emb.inv_freq"};  // buffers to skip and drop
  ConfigKeys keys = {};
  Traits traits = {};
  FamilyDefaults defaults = {};
  std::vector<RequiredValue> required = {};
  std::optional<ExpertsRule> experts = {};
  const Family* other_names = nullptr;  // the same family under other tensor names, where the files show these
  GgufTraits gguf = {};
};

bool has_role(const Family& family, Role role);

// In the order of families/families.def.
std::span<const Family* const> families();
const Family* find_family(std::string_view model_type);  // nullptr when unknown
// Of GGUF files; where several families have an architecture, the first. nullptr when unknown.
const Family* find_gguf_family(std::string_view arch, bool experts);

}  // namespace streamline
