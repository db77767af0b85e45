// SPDX-License-Identifier: Apache-2.0
// Llama 1, 2 and 3 and what shares their architecture (TinyLlama, SmolLM, Code Llama, …).
#include "streamline/arch/families/llama_names.h"

namespace streamline::families_list {

const Family& llama() {
  static const Family family{
      .name = "llama",
      .title = "Llama 1, 2 and 3",
      .model_types = {"llama"},
      .layer_prefix = "model.layers.",
      .layer_names = llama_layer_names(),
      .global_names = llama_global_names(),
      .traits = {.qkv_bias = {.key = "attention_bias"},
                 .o_bias = {.key = "attention_bias"},
                 .mlp_bias = {.key = "mlp_bias"}},
      .defaults = {.max_positions = 2048},
      .gguf = {.arch = "llama", .interleaved_qk = true, .o_bias = true, .mlp_bias = true, .rope_factors = true},
  };
  return family;
}

}  // namespace streamline::families_list
