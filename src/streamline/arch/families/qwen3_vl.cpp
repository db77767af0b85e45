// SPDX-License-Identifier: Apache-2.0
// The text model of Qwen3-VL (arXiv 2511.21631): Qwen3 with other defaults. Positions are as in Qwen2-VL; image
// features of several depths are added behind the first layers, which text alone does not see.
#include "streamline/arch/families/llama_names.h"

namespace streamline::families_list {

const Family& qwen3_vl() {
  static const Family family{
      .name = "qwen3_vl",
      .title = "Qwen3-VL (text)",
      .about = "as Qwen3, without a window",
      .model_types = {"qwen3_vl_text"},
      .layer_prefix = "model.layers.",
      .layer_names =
          joined({llama_layer_names(), {{Role::q_norm, "self_attn.q_norm"}, {Role::k_norm, "self_attn.k_norm"}}}),
      .global_names = llama_global_names(),
      .traits = {.qk_norm = QkNorm::head, .qkv_bias = {.key = "attention_bias"}, .o_bias = {.key = "attention_bias"}},
      .defaults =
          {.rope_theta = 5e5, .vocab = 151936, .heads = 32, .head_dim = 128, .kv_heads = 32, .max_positions = 128000},
  };
  return family;
}

}  // namespace streamline::families_list
