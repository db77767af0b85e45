// SPDX-License-Identifier: Apache-2.0
// Falcon 40B and 180B (arXiv 2311.16867), the "new decoder architecture": parallel halves with a norm each, q of a
// group beside its key and value. The older layout of Falcon 7B is refused.
#include "streamline/arch/gguf_names.h"

namespace streamline::families_list {

namespace {

Family falcon_family() {
  return {
      .name = "falcon",
      .title = "Falcon 40B and 180B",
      .about = "q, k, v by group; parallel halves with two norms (not: the layout of Falcon 7B, ALiBi)",
      .model_types = {"falcon"},
      .layer_prefix = "transformer.h.",
      .layer_names = {{Role::attention_norm, "ln_attn"},
                      {Role::qkv, "self_attention.query_key_value"},
                      {Role::o, "self_attention.dense"},
                      {Role::mlp_norm, "ln_mlp"},
                      {Role::up, "mlp.dense_h_to_4h"},
                      {Role::down, "mlp.dense_4h_to_h"}},
      .global_names = {{Role::token_embedding, "transformer.word_embeddings"},
                       {Role::final_norm, "transformer.ln_f"},
                       {Role::head, "lm_head"}},
      .keys = {.kv_heads = "num_kv_heads",
               .head_dim = "",
               .intermediate = "ffn_hidden_size",
               .activation = "activation",
               .norm_epsilon = "layer_norm_epsilon"},
      .traits = {.norm = Norm::layer,
                 .gated_mlp = false,
                 .qkv = QkvLayout::grouped,
                 .parallel = {.otherwise = true},
                 .qkv_bias = {.key = "bias"},
                 .o_bias = {.key = "bias"},
                 .mlp_bias = {.key = "bias"}},
      .defaults = {.tied_embeddings = true,
                   .norm_epsilon = 1e-5,
                   .activation = "gelu",
                   .intermediate = 4,
                   .max_positions = 2048},
      .required = {{"new_decoder_architecture", Json::array({true}), /*needed=*/true},
                   {"parallel_attn", Json::array({true})},
                   {"num_ln_in_parallel_attn", Json::array({2})},
                   {"alibi", Json::array({false})}},
      .gguf = {.arch = "falcon",
               .names = {{Role::attention_norm, "attn_norm_2"}, {Role::mlp_norm, "attn_norm"}},
               .square_attention = true},
  };
}

}  // namespace

const Family& falcon() {
  static const Family in_gguf = as_in_gguf(falcon_family());
  static const Family family = followed_by(falcon_family(), in_gguf);
  return family;
}

}  // namespace streamline::families_list
