// SPDX-License-Identifier: Apache-2.0
// Tensor names of OLMo 2 and 3: Llama's, with the norms after the halves and over all of q and k.
#pragma once

#include <vector>

#include "streamline/arch/family.h"

namespace streamline {

inline std::vector<RoleName> olmo_layer_names() {
  return {
      {Role::q, "self_attn.q_proj"},
      {Role::k, "self_attn.k_proj"},
      {Role::v, "self_attn.v_proj"},
      {Role::o, "self_attn.o_proj"},
      {Role::q_norm, "self_attn.q_norm"},
      {Role::k_norm, "self_attn.k_norm"},
      {Role::attention_post_norm, "post_attention_layernorm"},
      {Role::gate, "mlp.gate_proj"},
      {Role::up, "mlp.up_proj"},
      {Role::down, "mlp.down_proj"},
      {Role::mlp_post_norm, "post_feedforward_layernorm"},
  };
}

}  // namespace streamline
