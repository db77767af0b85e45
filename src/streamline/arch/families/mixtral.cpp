// SPDX-License-Identifier: Apache-2.0
// Mixtral (arXiv 2401.04088): Mistral with eight networks in the place of the MLP, of which a router picks two a token.
#include "streamline/arch/families/llama_names.h"

namespace streamline::families_list {

const Family& mixtral() {
  static const Family family{
      .name = "mixtral",
      .title = "Mixtral",
      .about = "experts",
      .model_types = {"mixtral"},
      .layer_prefix = "model.layers.",
      .layer_names = joined({llama_norm_names(), llama_attention_names(), {{Role::router, "block_sparse_moe.gate"}}}),
      .global_names = llama_global_names(),
      .traits = {.window = WindowRule::all},
      .defaults = {.rope_theta = 1e6, .norm_epsilon = 1e-5, .kv_heads = 8, .max_positions = 131072},
      .experts = ExpertsRule{.prefix = "block_sparse_moe.experts.",
                             .names = {{Role::gate, "w1"}, {Role::up, "w3"}, {Role::down, "w2"}},
                             .count_key = "num_local_experts",
                             .intermediate_key = "intermediate_size",
                             .count = 8,
                             .active = 2,
                             .renormalised = {.otherwise = true}},
      .gguf = {.arch = "llama", .interleaved_qk = true, .rope_factors = true, .renormalised = true},
  };
  return family;
}

}  // namespace streamline::families_list
