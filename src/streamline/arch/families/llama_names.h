// SPDX-License-Identifier: Apache-2.0
// Tensor names that many families share with Llama.
#pragma once

#include <vector>

#include "streamline/arch/family.h"

namespace streamline {

inline std::vector<RoleName> llama_layer_names() {
  return {
      {Role::attention_norm, "input_layernorm"},
      {Role::q, "self_attn.q_proj"},
      {Role::k, "self_attn.k_proj"},
      {Role::v, "self_attn.v_proj"},
      {Role::o, "self_attn.o_proj"},
      {Role::mlp_norm, "post_attention_layernorm"},
      {Role::gate, "mlp.gate_proj"},
      {Role::up, "mlp.up_proj"},
      {Role::down, "mlp.down_proj"},
  };
}

inline std::vector<RoleName> llama_global_names() {
  return {
      {Role::token_embedding, "model.embed_tokens"},
      {Role::final_norm, "model.norm"},
      {Role::head, "lm_head"},
  };
}

}  // namespace streamline
