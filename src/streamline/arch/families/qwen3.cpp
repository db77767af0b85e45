// SPDX-License-Identifier: Apache-2.0
// Qwen3: RMSNorm on every head of q and k before the rotary embedding, and heads of 128 whatever the hidden size.
#include "streamline/arch/families/llama_names.h"

namespace streamline::families_list {

const Family& qwen3() {
  static const Family family = [] {
    std::vector<RoleName> layer_names = llama_layer_names();
    layer_names.push_back({Role::q_norm, "self_attn.q_norm"});
    layer_names.push_back({Role::k_norm, "self_attn.k_norm"});
    return Family{
        .name = "qwen3",
        .title = "Qwen3",
        .about = "norms on each head of q and k",
        .model_types = {"qwen3"},
        .layer_prefix = "model.layers.",
        .layer_names = layer_names,
        .global_names = llama_global_names(),
        .traits = {.qk_norm = QkNorm::head,
                   .window = WindowRule::from_max_window_layers,
                   .qkv_bias = {.key = "attention_bias"},
                   .o_bias = {.key = "attention_bias"}},
        .defaults =
            {.head_dim = 128, .kv_heads = 32, .sliding_window = 4096, .max_window_layers = 28, .max_positions = 32768},
        .gguf = {.arch = "qwen3"},
    };
  }();
  return family;
}

}  // namespace streamline::families_list
