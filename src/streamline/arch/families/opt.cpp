// SPDX-License-Identifier: Apache-2.0
// OPT (Zhang et al. 2022): LayerNorm whose epsilon is not in the configuration, learned positions that start at row 2,
// a plain ReLU network with biases. OPT-350M norms after the residual sums and projects its narrower embeddings.
#include "streamline/arch/family.h"

namespace streamline::families_list {

const Family& opt() {
  static const Family family{
      .name = "opt",
      .title = "OPT",
      .about = "LayerNorm, learned positions, a plain MLP; OPT-350M: norms after the sums, projected embeddings",
      .model_types = {"opt"},
      .layer_prefix = "model.decoder.layers.",
      .layer_names = {{Role::attention_norm, "self_attn_layer_norm"},
                      {Role::q, "self_attn.q_proj"},
                      {Role::k, "self_attn.k_proj"},
                      {Role::v, "self_attn.v_proj"},
                      {Role::o, "self_attn.out_proj"},
                      {Role::mlp_norm, "final_layer_norm"},
                      {Role::up, "fc1"},
                      {Role::down, "fc2"}},
      .global_names = {{Role::token_embedding, "model.decoder.embed_tokens"},
                       {Role::position_embedding, "model.decoder.embed_positions"},
                       {Role::project_in, "model.decoder.project_in"},
                       {Role::project_out, "model.decoder.project_out"},
                       {Role::final_norm, "model.decoder.final_layer_norm"},
                       {Role::head, "lm_head"}},
      .keys = {.kv_heads = "",
               .head_dim = "",
               .intermediate = "ffn_dim",
               .activation = "activation_function",
               .norm_epsilon = "",
               .embedding_width = "word_embed_proj_dim"},
      .traits = {.norm = Norm::layer,
                 .gated_mlp = false,
                 .norm_before = {.key = "do_layer_norm_before", .otherwise = true},
                 .position = Position::learned,
                 .position_offset = 2,
                 .qkv_bias = {.key = "enable_bias", .otherwise = true},
                 .o_bias = {.key = "enable_bias", .otherwise = true},
                 .mlp_bias = {.key = "enable_bias", .otherwise = true},
                 .mlp_biases_foldable = true},
      .defaults = {.tied_embeddings = true, .norm_epsilon = 1e-5, .activation = "relu", .max_positions = 2048},
      .required = {{"_remove_final_layer_norm", Json::array({false})},
                   {"layer_norm_elementwise_affine", Json::array({true})}},
  };
  return family;
}

}  // namespace streamline::families_list
