// SPDX-License-Identifier: Apache-2.0
// GPT-NeoX and Pythia (arXiv 2204.06745): q, k and v of each head side by side, a quarter of each head turns, both
// halves read the stream that entered the layer (unless use_parallel_residual is false), each through its own norm.
#include "streamline/arch/gguf_names.h"

namespace streamline::families_list {

namespace {

Family gpt_neox_family() {
  return {
      .name = "gpt_neox",
      .title = "GPT-NeoX and Pythia",
      .about = "q, k, v of each head side by side; parallel or sequential halves",
      .model_types = {"gpt_neox"},
      .layer_prefix = "gpt_neox.layers.",
      .layer_names = {{Role::attention_norm, "input_layernorm"},
                      {Role::qkv, "attention.query_key_value"},
                      {Role::o, "attention.dense"},
                      {Role::mlp_norm, "post_attention_layernorm"},
                      {Role::up, "mlp.dense_h_to_4h"},
                      {Role::down, "mlp.dense_4h_to_h"}},
      .global_names = {{Role::token_embedding, "gpt_neox.embed_in"},
                       {Role::final_norm, "gpt_neox.final_layer_norm"},
                       {Role::head, "embed_out"}},
      .ignored_suffixes = {".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"},
      .keys = {.kv_heads = "",
               .head_dim = "",
               .norm_epsilon = "layer_norm_eps",
               .rope_theta = "rotary_emb_base",
               .rotary_share = "rotary_pct"},
      .traits = {.norm = Norm::layer,
                 .gated_mlp = false,
                 .qkv = QkvLayout::grouped,
                 .parallel = {.key = "use_parallel_residual", .otherwise = true},
                 .qkv_bias = {.key = "attention_bias", .otherwise = true},
                 .o_bias = {.key = "attention_bias", .otherwise = true},
                 .mlp_bias = {.otherwise = true},
                 .mlp_biases_foldable = true},
      .defaults = {.rotary_share = 0.25, .norm_epsilon = 1e-5, .activation = "gelu", .max_positions = 2048},
      .gguf = {.arch = "gptneox", .square_attention = true, .own_head = true, .o_bias = true, .mlp_bias = true},
  };
}

}  // namespace

const Family& gpt_neox() {
  static const Family in_gguf = as_in_gguf(gpt_neox_family());
  static const Family family = followed_by(gpt_neox_family(), in_gguf);
  return family;
}

}  // namespace streamline::families_list
