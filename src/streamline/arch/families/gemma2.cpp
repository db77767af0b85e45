// SPDX-License-Identifier: Apache-2.0
// Gemma 2 (arXiv 2408.00118): norms with 1 + w before and after both halves, capped scores and logits, a window in
// every other layer, embeddings times sqrt(hidden).
#include "streamline/arch/families/gemma_names.h"
#include "streamline/arch/families/llama_names.h"

namespace streamline::families_list {

const Family& gemma2() {
  static const Family family{
      .name = "gemma2",
      .title = "Gemma 2",
      .about = "norms with 1 + w before and after both halves, capped scores and logits, a window in every other layer",
      .model_types = {"gemma2"},
      .layer_prefix = "model.layers.",
      .layer_names = gemma_layer_names(),
      .global_names = llama_global_names(),
      .keys = {.activation = "hidden_activation"},
      .traits = {.norm_offset = 1,
                 .window = WindowRule::periodic,
                 .qkv_bias = {.key = "attention_bias"},
                 .o_bias = {.key = "attention_bias"},
                 .scale = {.root_of_hidden = true,
                           .attention_root = {"query_pre_attn_scalar", 256},
                           .attention_softcap = {"attn_logit_softcapping", 50},
                           .logit_softcap = {"final_logit_softcapping", 30}}},
      .defaults = {.tied_embeddings = true,
                   .activation = "gelu_pytorch_tanh",
                   .head_dim = 256,
                   .kv_heads = 4,
                   .sliding_window = 4096,
                   .window_period = 2,
                   .max_positions = 8192},
      .required = {{"use_bidirectional_attention", Json::array({false})}},
      .gguf = {.arch = "gemma2", .windows = true, .tied_head = true, .softcap = true},
  };
  return family;
}

}  // namespace streamline::families_list
