// SPDX-License-Identifier: Apache-2.0
// DeciLM, in NVIDIA's Nemotron models and in what this program writes: Llama whose layers each have their own number of
// key and value heads, their own MLP width, or lack a half; `block_configs` says which.
#include "streamline/arch/families/llama_names.h"

namespace streamline::families_list {

const Family& nemotron_nas() {
  static const Family family{
      .name = "nemotron_nas",
      .title = "DeciLM (Llama Nemotron Super and Ultra)",
      .about = "widths layer by layer, layers without attention or MLP (not: linear replacements)",
      .model_types = {"nemotron-nas"},
      .layer_prefix = "model.layers.",
      .layer_names = llama_layer_names(),
      .global_names = llama_global_names(),
      .traits = {.qkv_bias = {.key = "attention_bias"},
                 .o_bias = {.key = "attention_bias"},
                 .mlp_bias = {.key = "mlp_bias"},
                 .block_configs = true},
      // `intermediate_size` is null in these files; `block_configs` decides.
      .defaults = {.intermediate = 4, .max_positions = 2048},
      .gguf = {.arch = "deci", .interleaved_qk = true, .o_bias = true, .mlp_bias = true, .rope_factors = true},
  };
  return family;
}

}  // namespace streamline::families_list
