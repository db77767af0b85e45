// SPDX-License-Identifier: Apache-2.0
// Tensor names of Gemma 2 and 3: Llama's, with a norm before and after each half.
#pragma once

#include <vector>

#include "streamline/arch/family.h"

namespace streamline {

inline std::vector<RoleName> gemma_layer_names() {
  return {
      {Role::attention_norm, "input_layernorm"},
      {Role::q, "self_attn.q_proj"},
      {Role::k, "self_attn.k_proj"},
      {Role::v, "self_attn.v_proj"},
      {Role::o, "self_attn.o_proj"},
      {Role::attention_post_norm, "post_attention_layernorm"},
      {Role::mlp_norm, "pre_feedforward_layernorm"},
      {Role::gate, "mlp.gate_proj"},
      {Role::up, "mlp.up_proj"},
      {Role::down, "mlp.down_proj"},
      {Role::mlp_post_norm, "post_feedforward_layernorm"},
  };
}

}  // namespace streamline
