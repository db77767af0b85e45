// SPDX-License-Identifier: Apache-2.0
// OLMo 2 (arXiv 2501.00656): norms after the halves instead of before, and norms over the whole width of q and k.
#include "streamline/arch/families/llama_names.h"
#include "streamline/arch/families/olmo_names.h"

namespace streamline::families_list {

const Family& olmo2() {
  static const Family family{
      .name = "olmo2",
      .title = "OLMo 2",
      .about = "norms after the halves and over all of q and k",
      .model_types = {"olmo2"},
      .layer_prefix = "model.layers.",
      .layer_names = olmo_layer_names(),
      .global_names = llama_global_names(),
      .traits = {.qk_norm = QkNorm::whole, .qkv_bias = {.key = "attention_bias"}, .o_bias = {.key = "attention_bias"}},
      .defaults = {.norm_epsilon = 1e-5, .max_positions = 2048},
      .gguf = {.arch = "olmo2", .square_attention = true, .own_head = true},
  };
  return family;
}

}  // namespace streamline::families_list
