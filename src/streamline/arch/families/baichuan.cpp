// SPDX-License-Identifier: Apache-2.0
// Baichuan 7B and Baichuan 2 7B (arXiv 2309.10305): q, k and v in one tensor; the head of version 2 has rows of length
// one. The 13B models, whose configuration has no max_position_embeddings (ALiBi), are refused.
#include "streamline/arch/families/llama_names.h"

namespace streamline::families_list {

const Family& baichuan() {
  static const Family family{
      .name = "baichuan",
      .title = "Baichuan and Baichuan 2 (7B)",
      .about = "q, k, v in one tensor; head rows of length one (not: 13B, which has ALiBi)",
      .model_types = {"baichuan"},
      .layer_prefix = "model.layers.",
      .layer_names = {{Role::attention_norm, "input_layernorm"},
                      {Role::qkv, "self_attn.W_pack"},
                      {Role::o, "self_attn.o_proj"},
                      {Role::mlp_norm, "post_attention_layernorm"},
                      {Role::gate, "mlp.gate_proj"},
                      {Role::up, "mlp.up_proj"},
                      {Role::down, "mlp.down_proj"}},
      .global_names = llama_global_names(),
      .keys = {.kv_heads = "", .head_dim = ""},
      .traits = {.qkv = QkvLayout::stacked, .normalised_head = {.vocab = 125696, .key = "z_loss_weight"}},
  };
  return family;
}

}  // namespace streamline::families_list
