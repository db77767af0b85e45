// SPDX-License-Identifier: Apache-2.0
// Granite 3: Llama with multipliers on the embeddings, the scores and both halves of a layer, and divided logits.
#include "streamline/arch/families/llama_names.h"

namespace streamline::families_list {

const Family& granite() {
  static const Family family{
      .name = "granite",
      .title = "Granite 3",
      .about = "multipliers on embeddings, scores and residual sums; divided logits",
      .model_types = {"granite"},
      .layer_prefix = "model.layers.",
      .layer_names = llama_layer_names(),
      .global_names = llama_global_names(),
      .traits = {.qkv_bias = {.key = "attention_bias"},
                 .o_bias = {.key = "attention_bias"},
                 .mlp_bias = {.key = "mlp_bias"},
                 .scale = {.embedding = {"embedding_multiplier", 1},
                           .residual = {"residual_multiplier", 1},
                           .attention = {"attention_multiplier", 1},
                           .logits_divisor = {"logits_scaling", 1}}},
      .defaults = {.max_positions = 2048},
      .gguf = {.arch = "granite", .interleaved_qk = true, .o_bias = true, .mlp_bias = true, .rope_factors = true},
  };
  return family;
}

}  // namespace streamline::families_list
