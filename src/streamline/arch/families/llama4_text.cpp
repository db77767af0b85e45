// SPDX-License-Identifier: Apache-2.0
// The text model of Llama 4 (Scout, Maverick): experts in every layer or every other, of which a token's own is added
// to one that all share; three layers of four see a chunk of positions and turn their heads, the fourth sees everything
// and turns nothing.
#include "streamline/arch/families/llama_names.h"
#include "streamline/arch/gguf_names.h"

namespace streamline::families_list {
namespace {

Family llama4_family() {
  return {
      .name = "llama4_text",
      .title = "Llama 4 (text)",
      .about = "experts whose share multiplies what they read, chunks, layers without position encoding",
      .model_types = {"llama4_text"},
      .layer_prefix = "model.layers.",
      .layer_names = joined({llama_norm_names(),
                             llama_attention_names(),
                             {{Role::router, "feed_forward.router"},
                              {Role::shared_gate, "feed_forward.shared_expert.gate_proj"},
                              {Role::shared_up, "feed_forward.shared_expert.up_proj"},
                              {Role::shared_down, "feed_forward.shared_expert.down_proj"},
                              {Role::stacked_gate_up, "feed_forward.experts.gate_up_proj", /*bare=*/true},
                              {Role::stacked_down, "feed_forward.experts.down_proj", /*bare=*/true},
                              {Role::gate, "feed_forward.gate_proj"},
                              {Role::up, "feed_forward.up_proj"},
                              {Role::down, "feed_forward.down_proj"}}}),
      .global_names = llama_global_names(),
      .keys = {.intermediate = "intermediate_size_mlp"},
      .traits = {.qk_norm = QkNorm::unit,
                 .qk_norm_used = {.key = "use_qk_norm", .otherwise = true},
                 .neighbours_rotate = true,
                 .rope = RopeRule::listed,
                 .window = WindowRule::chunks_if_rotated,
                 .query_temperature = true,
                 .qkv_bias = {.key = "attention_bias"},
                 .o_bias = {.key = "attention_bias"}},
      .defaults = {.rope_theta = 500000,
                   .norm_epsilon = 1e-5,
                   .vocab = 202048,
                   .heads = 40,
                   .head_dim = 128,
                   .kv_heads = 8,
                   .sliding_window = 8192,
                   .max_positions = 131072},
      .experts = ExpertsRule{.prefix = "feed_forward.experts.",
                             .names = {{Role::gate, "gate_proj"}, {Role::up, "up_proj"}, {Role::down, "down_proj"}},
                             .count_key = "num_local_experts",
                             .intermediate_key = "intermediate_size",
                             .shared_key = "intermediate_size",
                             .count = 16,
                             .active = 1,
                             .intermediate = 8192,
                             .shared = 8192,
                             .sparse_listed = true,
                             .stacked = true,
                             .scales_input = true},
      .gguf = {.arch = "llama4",
               .rope_factors = true,
               .sparse_steps = true,
               .unnormed_experts = 128,
               .given = {{"attention_chunk_size", 8192},
                         {"attn_temperature_tuning", true},
                         {"floor_scale", 8192},
                         {"attn_scale", 0.1}}},
  };
}

}  // namespace

const Family& llama4_text() {
  static const Family in_gguf = as_in_gguf(llama4_family());
  static const Family family = followed_by(llama4_family(), in_gguf);
  return family;
}

}  // namespace streamline::families_list
