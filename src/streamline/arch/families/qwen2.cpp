// SPDX-License-Identifier: Apache-2.0
// Qwen2 and Qwen2.5: biases on q, k and v whatever the configuration says; a window in the upper layers if asked for.
#include "streamline/arch/families/llama_names.h"

namespace streamline::families_list {

const Family& qwen2() {
  static const Family family{
      .name = "qwen2",
      .title = "Qwen2 and Qwen2.5",
      .about = "biases on q, k, v; a window from `max_window_layers` on",
      .model_types = {"qwen2"},
      .layer_prefix = "model.layers.",
      .layer_names = llama_layer_names(),
      .global_names = llama_global_names(),
      .traits = {.window = WindowRule::from_max_window_layers, .qkv_bias = {.otherwise = true}},
      .defaults = {.kv_heads = 32, .sliding_window = 4096, .max_window_layers = 28, .max_positions = 32768},
      .gguf = {.arch = "qwen2", .square_attention = true},
  };
  return family;
}

}  // namespace streamline::families_list
