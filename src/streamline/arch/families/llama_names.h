// SPDX-License-Identifier: Apache-2.0
// Tensor names that many families share with Llama, whole or by block.
#pragma once

#include <initializer_list>
#include <vector>

#include "streamline/arch/family.h"

namespace streamline {

using RoleNames = std::vector<RoleName>;

inline RoleNames joined(std::initializer_list<RoleNames> parts) {
  RoleNames all;
  for (const RoleNames& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

inline RoleNames llama_attention_names() {
  return {
      {Role::q, "self_attn.q_proj"},
      {Role::k, "self_attn.k_proj"},
      {Role::v, "self_attn.v_proj"},
      {Role::o, "self_attn.o_proj"},
  };
}

inline RoleNames llama_mlp_names() {
  return {
      {Role::gate, "mlp.gate_proj"},
      {Role::up, "mlp.up_proj"},
      {Role::down, "mlp.down_proj"},
  };
}

inline RoleNames llama_norm_names() {
  return {
      {Role::attention_norm, "input_layernorm"},
      {Role::mlp_norm, "post_attention_layernorm"},
  };
}

inline RoleNames llama_layer_names() {
  return joined({llama_norm_names(), llama_attention_names(), llama_mlp_names()});
}

inline RoleNames llama_global_names() {
  return {
      {Role::token_embedding, "model.embed_tokens"},
      {Role::final_norm, "model.norm"},
      {Role::head, "lm_head"},
  };
}

}  // namespace streamline
