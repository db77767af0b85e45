// SPDX-License-Identifier: Apache-2.0
// GLM-4-0414: norms before and after both halves, gate and up in one tensor, neighbouring components of half a head
// turn.
#include "streamline/arch/families/llama_names.h"

namespace streamline::families_list {

const Family& glm4() {
  static const Family family{
      .name = "glm4",
      .title = "GLM-4",
      .about = "norms before and after both halves, neighbouring components of half a head turn",
      .model_types = {"glm4"},
      .layer_prefix = "model.layers.",
      .layer_names = joined({llama_norm_names(),
                             llama_attention_names(),
                             {{Role::attention_post_norm, "post_self_attn_layernorm"},
                              {Role::gate_up, "mlp.gate_up_proj"},
                              {Role::down, "mlp.down_proj"},
                              {Role::mlp_post_norm, "post_mlp_layernorm"}}}),
      .global_names = llama_global_names(),
      .keys = {.rotary_share = "partial_rotary_factor"},
      .traits = {.neighbours_rotate = true, .qkv_bias = {.key = "attention_bias", .otherwise = true}},
      .defaults =
          {.rotary_share = 0.5, .norm_epsilon = 1.5625e-7, .head_dim = 128, .kv_heads = 2, .max_positions = 131072},
      .gguf = {.arch = "glm4", .names = {{Role::gate_up, "ffn_up"}}},
  };
  return family;
}

}  // namespace streamline::families_list
