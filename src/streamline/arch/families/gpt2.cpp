// SPDX-License-Identifier: Apache-2.0
// GPT-2: matrices stored [in, out], q, k and v in one of them, learned positions. Files of the first release lack the
// prefix "transformer." and hold the attention mask as a tensor.
#include "streamline/arch/gguf_names.h"

namespace streamline::families_list {
namespace {

Family family_under(std::string_view layer_prefix, std::vector<RoleName> global_names) {
  return {
      .name = "gpt2",
      .title = "GPT-2",
      .about = "matrices stored [in, out], learned positions; with and without the prefix `transformer.`",
      .model_types = {"gpt2"},
      .layer_prefix = layer_prefix,
      .layer_names = {{Role::attention_norm, "ln_1"},
                      {Role::qkv, "attn.c_attn"},
                      {Role::o, "attn.c_proj"},
                      {Role::mlp_norm, "ln_2"},
                      {Role::up, "mlp.c_fc"},
                      {Role::down, "mlp.c_proj"}},
      .global_names = std::move(global_names),
      .ignored_suffixes = {".attn.bias", ".attn.masked_bias"},
      .keys = {.hidden = "n_embd",
               .layers = "n_layer",
               .heads = "n_head",
               .kv_heads = "",
               .head_dim = "",
               .intermediate = "n_inner",
               .activation = "activation_function",
               .norm_epsilon = "layer_norm_epsilon",
               .max_positions = "n_positions",
               .max_positions_alias = "n_ctx"},
      .traits = {.norm = Norm::layer,
                 .gated_mlp = false,
                 .qkv = QkvLayout::stacked,
                 .transposed = true,
                 .position = Position::learned,
                 .qkv_bias = {.otherwise = true},
                 .o_bias = {.otherwise = true},
                 .mlp_bias = {.otherwise = true},
                 .mlp_biases_foldable = true},
      .defaults = {.tied_embeddings = true,
                   .norm_epsilon = 1e-5,
                   .activation = "gelu_new",
                   .intermediate = 4,
                   .max_positions = 1024},
      .required = {{"scale_attn_weights", Json::array({true})},
                   {"scale_attn_by_inverse_layer_idx", Json::array({false})},
                   {"add_cross_attention", Json::array({false})}},
      .gguf = {.arch = "gpt2", .square_attention = true, .o_bias = true, .mlp_bias = true},
  };
}

Family bare_family() {
  return family_under("h.", {{Role::token_embedding, "wte"},
                             {Role::position_embedding, "wpe"},
                             {Role::final_norm, "ln_f"},
                             {Role::head, "lm_head"}});
}

}  // namespace

const Family& gpt2() {
  static const Family in_gguf = as_in_gguf(bare_family());
  static const Family bare = followed_by(bare_family(), in_gguf);
  static const Family family =
      followed_by(family_under("transformer.h.", {{Role::token_embedding, "transformer.wte"},
                                                  {Role::position_embedding, "transformer.wpe"},
                                                  {Role::final_norm, "transformer.ln_f"},
                                                  {Role::head, "lm_head"}}),
                  bare);
  return family;
}

}  // namespace streamline::families_list
