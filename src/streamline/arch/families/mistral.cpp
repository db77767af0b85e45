// SPDX-License-Identifier: Apache-2.0
// Mistral: Llama with a sliding window in every layer, unless the configuration says null.
#include "streamline/arch/families/llama_names.h"

namespace streamline::families_list {

const Family& mistral() {
  static const Family family{
      .name = "mistral",
      .title = "Mistral",
      .about = "a window in every layer",
      .model_types = {"mistral"},
      .layer_prefix = "model.layers.",
      .layer_names = llama_layer_names(),
      .global_names = llama_global_names(),
      .traits = {.window = WindowRule::all},
      .defaults = {.kv_heads = 8, .sliding_window = 4096, .max_positions = 131072},
      .gguf = {.arch = "llama", .interleaved_qk = true, .rope_factors = true},
  };
  return family;
}

}  // namespace streamline::families_list
