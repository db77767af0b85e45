// SPDX-License-Identifier: Apache-2.0
// The text model of Qwen2-VL and Qwen2.5-VL (arXiv 2502.13923): Qwen2 with other defaults. Its rotary embedding turns
// parts of a head by time, height and width; in text the three positions are one, and it is the ordinary one.
#include "streamline/arch/families/llama_names.h"

namespace streamline::families_list {

const Family& qwen2_vl() {
  static const Family family{
      .name = "qwen2_vl",
      .title = "Qwen2-VL and Qwen2.5-VL (text)",
      .about = "as Qwen2; in text the positions of time, height and width are one",
      .model_types = {"qwen2_5_vl_text", "qwen2_vl_text", "qwen2_5_vl", "qwen2_vl"},
      .layer_prefix = "model.layers.",
      .layer_names = llama_layer_names(),
      .global_names = llama_global_names(),
      .traits = {.window = WindowRule::from_max_window_layers, .qkv_bias = {.otherwise = true}},
      .defaults = {.rope_theta = 1e6,
                   .norm_epsilon = 1e-5,
                   .vocab = 152064,
                   .heads = 64,
                   .kv_heads = 8,
                   .sliding_window = 4096,
                   .max_window_layers = 80,
                   .max_positions = 32768},
  };
  return family;
}

}  // namespace streamline::families_list
