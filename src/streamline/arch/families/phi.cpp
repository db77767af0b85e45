// SPDX-License-Identifier: Apache-2.0
// Phi-1, Phi-1.5 and Phi-2: both halves read the same normed state; the head has a bias; part of each head turns.
#include "streamline/arch/family.h"

namespace streamline::families_list {

const Family& phi() {
  static const Family family{
      .name = "phi",
      .title = "Phi-1, Phi-1.5 and Phi-2",
      .about = "parallel halves with one norm, part of each head turns, a bias on the head",
      .model_types = {"phi"},
      .layer_prefix = "model.layers.",
      .layer_names = {{Role::attention_norm, "input_layernorm"},
                      {Role::q, "self_attn.q_proj"},
                      {Role::k, "self_attn.k_proj"},
                      {Role::v, "self_attn.v_proj"},
                      {Role::o, "self_attn.dense"},
                      {Role::up, "mlp.fc1"},
                      {Role::down, "mlp.fc2"}},
      .global_names = {{Role::token_embedding, "model.embed_tokens"},
                       {Role::final_norm, "model.final_layernorm"},
                       {Role::head, "lm_head"}},
      .keys = {.head_dim = "", .norm_epsilon = "layer_norm_eps", .rotary_share = "partial_rotary_factor"},
      .traits = {.norm = Norm::layer,
                 .gated_mlp = false,
                 .parallel = {.otherwise = true},
                 .qkv_bias = {.otherwise = true},
                 .o_bias = {.otherwise = true},
                 .mlp_bias = {.otherwise = true},
                 .head_bias = true,
                 .mlp_biases_foldable = true},
      .defaults = {.rotary_share = 0.5, .norm_epsilon = 1e-5, .activation = "gelu_new", .max_positions = 2048},
      .required = {{"qk_layernorm", Json::array({false})}},
      .gguf = {.arch = "phi2", .square_attention = true, .o_bias = true, .mlp_bias = true},
  };
  return family;
}

}  // namespace streamline::families_list
