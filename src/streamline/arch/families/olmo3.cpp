// SPDX-License-Identifier: Apache-2.0
// OLMo 3: OLMo 2 with a window in all but every fourth layer; only the layers without window scale their positions.
#include "streamline/arch/families/llama_names.h"
#include "streamline/arch/families/olmo_names.h"

namespace streamline::families_list {

const Family& olmo3() {
  static const Family family{
      .name = "olmo3",
      .title = "OLMo 3",
      .about = "the same, and a window in three of four layers, YaRN in the fourth",
      .model_types = {"olmo3"},
      .layer_prefix = "model.layers.",
      .layer_names = olmo_layer_names(),
      .global_names = llama_global_names(),
      .traits = {.qk_norm = QkNorm::whole,
                 .rope = RopeRule::local_in_sliding,
                 .window = WindowRule::periodic,
                 .qkv_bias = {.key = "attention_bias"},
                 .o_bias = {.key = "attention_bias"}},
      .defaults = {.rope_theta = 5e5,
                   .local_rope_theta = 5e5,
                   .norm_epsilon = 1e-5,
                   .sliding_window = 4096,
                   .window_period = 4,
                   .max_positions = 2048},
  };
  return family;
}

}  // namespace streamline::families_list
