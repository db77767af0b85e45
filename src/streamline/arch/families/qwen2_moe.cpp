// SPDX-License-Identifier: Apache-2.0
// Qwen1.5-MoE and Qwen2-MoE (arXiv 2407.10671): many small experts, their shares as the softmax gives them, and one
// more that all tokens share, behind a sigmoid.
#include "streamline/arch/families/llama_names.h"
#include "streamline/arch/families/qwen_experts.h"

namespace streamline::families_list {

const Family& qwen2_moe() {
  static const Family family = [] {
    std::vector<RoleName> layer_names = llama_layer_names();
    layer_names.push_back({Role::router, "mlp.gate"});
    layer_names.push_back({Role::shared_router, "mlp.shared_expert_gate"});
    layer_names.push_back({Role::shared_gate, "mlp.shared_expert.gate_proj"});
    layer_names.push_back({Role::shared_up, "mlp.shared_expert.up_proj"});
    layer_names.push_back({Role::shared_down, "mlp.shared_expert.down_proj"});
    ExpertsRule experts = qwen_experts();
    experts.shared_key = "shared_expert_intermediate_size";
    experts.count = 60, experts.active = 4, experts.intermediate = 1408, experts.shared = 5632;
    return Family{
        .name = "qwen2_moe",
        .title = "Qwen1.5-MoE and Qwen2-MoE",
        .about = "experts, one more that all tokens share, dense layers among sparse ones",
        .model_types = {"qwen2_moe"},
        .layer_prefix = "model.layers.",
        .layer_names = layer_names,
        .global_names = llama_global_names(),
        .traits = {.window = WindowRule::below_max_window_layers, .qkv_bias = {.key = "qkv_bias", .otherwise = true}},
        .defaults = {.kv_heads = 16, .sliding_window = 4096, .max_window_layers = 28, .max_positions = 32768},
        .experts = experts,
        .gguf = {.arch = "qwen2moe", .square_attention = true, .own_head = true},
    };
  }();
  return family;
}

}  // namespace streamline::families_list
