// SPDX-License-Identifier: Apache-2.0
// Phi-3 and Phi-4: Llama with q, k and v in one tensor and gate and up in another.
#include "streamline/arch/families/llama_names.h"

namespace streamline::families_list {

const Family& phi3() {
  static const Family family{
      .name = "phi3",
      .title = "Phi-3 and Phi-4",
      .about = "q, k, v in one tensor, gate and up in another; LongRoPE",
      .model_types = {"phi3"},
      .layer_prefix = "model.layers.",
      .layer_names = {{Role::attention_norm, "input_layernorm"},
                      {Role::qkv, "self_attn.qkv_proj"},
                      {Role::o, "self_attn.o_proj"},
                      {Role::mlp_norm, "post_attention_layernorm"},
                      {Role::gate_up, "mlp.gate_up_proj"},
                      {Role::down, "mlp.down_proj"}},
      .global_names = llama_global_names(),
      .keys = {.rotary_share = "partial_rotary_factor"},
      .traits = {.qkv = QkvLayout::stacked, .window = WindowRule::all},
      .defaults = {.norm_epsilon = 1e-5, .max_positions = 4096},
      .gguf = {.arch = "phi3", .names = {{Role::gate_up, "ffn_up"}}, .square_attention = true, .long_factors = true},
  };
  return family;
}

}  // namespace streamline::families_list
