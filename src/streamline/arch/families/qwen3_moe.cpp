// SPDX-License-Identifier: Apache-2.0
// Qwen3-MoE (arXiv 2505.09388): Qwen3 with experts in all layers that `mlp_only_layers` does not name.
#include "streamline/arch/families/llama_names.h"
#include "streamline/arch/families/qwen_experts.h"

namespace streamline::families_list {

const Family& qwen3_moe() {
  static const Family family = [] {
    std::vector<RoleName> layer_names = llama_layer_names();
    layer_names.push_back({Role::q_norm, "self_attn.q_norm"});
    layer_names.push_back({Role::k_norm, "self_attn.k_norm"});
    layer_names.push_back({Role::router, "mlp.gate"});
    ExpertsRule experts = qwen_experts();
    experts.count_alias = "num_local_experts";
    experts.count = 128, experts.active = 8, experts.intermediate = 768;
    return Family{
        .name = "qwen3_moe",
        .title = "Qwen3-MoE",
        .about = "experts, dense layers among sparse ones",
        .model_types = {"qwen3_moe"},
        .layer_prefix = "model.layers.",
        .layer_names = layer_names,
        .global_names = llama_global_names(),
        .traits = {.qk_norm = QkNorm::head,
                   .window = WindowRule::all_if_used,
                   .qkv_bias = {.key = "attention_bias"},
                   .o_bias = {.key = "attention_bias"}},
        .defaults = {.kv_heads = 4, .sliding_window = 4096, .max_positions = 32768},
        .experts = experts,
        .gguf = {.arch = "qwen3moe", .renormalised = true},
    };
  }();
  return family;
}

}  // namespace streamline::families_list
