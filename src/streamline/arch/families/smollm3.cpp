// SPDX-License-Identifier: Apache-2.0
// SmolLM3: Llama with layers that have no position encoding: those that `no_rope_layers` marks, else every fourth.
#include "streamline/arch/families/llama_names.h"

namespace streamline::families_list {

const Family& smollm3() {
  static const Family family{
      .name = "smollm3",
      .title = "SmolLM3",
      .about = "layers without position encoding",
      .model_types = {"smollm3"},
      .layer_prefix = "model.layers.",
      .layer_names = llama_layer_names(),
      .global_names = llama_global_names(),
      .traits = {.rope = RopeRule::listed,
                 .window = WindowRule::unrotated,
                 .qkv_bias = {.key = "attention_bias"},
                 .o_bias = {.key = "attention_bias"},
                 .mlp_bias = {.key = "mlp_bias"}},
      .defaults = {.tied_embeddings = true, .rope_theta = 2e6, .kv_heads = 4, .max_positions = 32768},
      .gguf = {.arch = "smollm3", .interleaved_qk = true},
  };
  return family;
}

}  // namespace streamline::families_list
