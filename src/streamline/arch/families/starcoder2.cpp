// SPDX-License-Identifier: Apache-2.0
// StarCoder2 (arXiv 2402.19173): LayerNorm, biases everywhere, a plain MLP, rotary embedding with grouped queries.
#include "streamline/arch/families/llama_names.h"

namespace streamline::families_list {

const Family& starcoder2() {
  static const Family family{
      .name = "starcoder2",
      .title = "StarCoder2",
      .about = "LayerNorm, biases, a plain MLP",
      .model_types = {"starcoder2"},
      .layer_prefix = "model.layers.",
      .layer_names =
          joined({llama_norm_names(), llama_attention_names(), {{Role::up, "mlp.c_fc"}, {Role::down, "mlp.c_proj"}}}),
      .global_names = llama_global_names(),
      .keys = {.head_dim = "", .norm_epsilon = "norm_epsilon"},
      .traits = {.norm = Norm::layer,
                 .gated_mlp = false,
                 .window = WindowRule::all,
                 .qkv_bias = {.key = "use_bias", .otherwise = true},
                 .o_bias = {.key = "use_bias", .otherwise = true},
                 .mlp_bias = {.key = "use_bias", .otherwise = true},
                 .mlp_biases_foldable = true},
      .defaults = {.tied_embeddings = true,
                   .norm_epsilon = 1e-5,
                   .activation = "gelu_pytorch_tanh",
                   .kv_heads = 2,
                   .max_positions = 4096},
      .required = {{"norm_type", Json::array({"layer_norm"})}, {"mlp_type", Json::array({"default"})}},
      .gguf = {.arch = "starcoder2", .square_attention = true, .o_bias = true, .mlp_bias = true},
  };
  return family;
}

}  // namespace streamline::families_list
