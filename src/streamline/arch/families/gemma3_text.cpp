// SPDX-License-Identifier: Apache-2.0
// Gemma 3, text, alone or inside Gemma3ForConditionalGeneration (arXiv 2503.19786): Gemma 2 without caps, norms on the
// heads of q and k, and two rotary bases: that of the layers with a window is never scaled.
#include "streamline/arch/families/gemma_names.h"
#include "streamline/arch/families/llama_names.h"

namespace streamline::families_list {

const Family& gemma3_text() {
  static const Family family = [] {
    std::vector<RoleName> layer_names = gemma_layer_names();
    layer_names.push_back({Role::q_norm, "self_attn.q_norm"});
    layer_names.push_back({Role::k_norm, "self_attn.k_norm"});
    return Family{
        .name = "gemma3_text",
        .title = "Gemma 3 (text)",
        .about = "the same without caps; norms on q and k, two rotary bases",
        .model_types = {"gemma3_text"},
        .layer_prefix = "model.layers.",
        .layer_names = layer_names,
        .global_names = llama_global_names(),
        .keys = {.activation = "hidden_activation",
                 .local_rope_theta = "rope_local_base_freq",
                 .window_period = "sliding_window_pattern"},
        .traits = {.norm_offset = 1,
                   .qk_norm = QkNorm::head,
                   .rope = RopeRule::local_in_sliding,
                   .window = WindowRule::periodic,
                   .qkv_bias = {.key = "attention_bias"},
                   .o_bias = {.key = "attention_bias"},
                   .scale = {.root_of_hidden = true,
                             .attention_root = {"query_pre_attn_scalar", 256},
                             .attention_softcap = {.key = "attn_logit_softcapping"},
                             .logit_softcap = {.key = "final_logit_softcapping"}}},
        .defaults = {.tied_embeddings = true,
                     .rope_theta = 1e6,
                     .local_rope_theta = 1e4,
                     .activation = "gelu_pytorch_tanh",
                     .vocab = 262208,
                     .heads = 8,
                     .head_dim = 256,
                     .kv_heads = 4,
                     .sliding_window = 4096,
                     .window_period = 6,
                     .max_positions = 131072},
        .required = {{"use_bidirectional_attention", Json::array({false})}},
        .gguf = {.arch = "gemma3", .windows = true},
    };
  }();
  return family;
}

}  // namespace streamline::families_list
