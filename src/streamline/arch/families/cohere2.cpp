// SPDX-License-Identifier: Apache-2.0
// Cohere 2 (Command R7B, Command A): one LayerNorm without bias for both halves, neighbouring components turn, three
// layers with a window and rotary embedding for one with neither, scaled logits.
#include "streamline/arch/families/llama_names.h"

namespace streamline::families_list {

const Family& cohere2() {
  static const Family family{
      .name = "cohere2",
      .title = "Cohere 2 (Command R7B, Command A)",
      .about =
          "parallel halves, LayerNorm without bias, neighbouring components turn; layers without position encoding",
      .model_types = {"cohere2"},
      .layer_prefix = "model.layers.",
      .layer_names = joined({{{Role::attention_norm, "input_layernorm"}}, llama_attention_names(), llama_mlp_names()}),
      .global_names = llama_global_names(),
      .keys = {.head_dim = "", .norm_epsilon = "layer_norm_eps", .window_period = "sliding_window_pattern"},
      .traits = {.norm = Norm::layer,
                 .norm_bias = false,
                 .parallel = {.otherwise = true},
                 .neighbours_rotate = true,
                 .rope = RopeRule::sliding_only,
                 .window = WindowRule::periodic,
                 .qkv_bias = {.key = "attention_bias"},
                 .o_bias = {.key = "attention_bias"},
                 .scale = {.logits = {"logit_scale", 0.0625}}},
      .defaults = {.tied_embeddings = true,
                   .norm_epsilon = 1e-5,
                   .sliding_window = 4096,
                   .window_period = 4,
                   .max_positions = 8192},
      .required = {{"use_qk_norm", Json::array({false})},
                   {"use_parallel_block", Json::array({true})},
                   {"use_gated_activation", Json::array({true})},
                   {"position_embedding_type", Json::array({"rope_gptj"})},
                   {"rotary_pct", Json::array({1})}},
      .gguf = {.arch = "cohere2", .windows = true, .square_attention = true, .tied_head = true},
  };
  return family;
}

}  // namespace streamline::families_list
