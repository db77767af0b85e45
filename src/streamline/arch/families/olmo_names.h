// SPDX-License-Identifier: Apache-2.0
// Tensor names of OLMo 2 and 3: Llama's, with the norms after the halves and over all of q and k.
#pragma once

#include "streamline/arch/families/llama_names.h"

namespace streamline {

inline RoleNames olmo_layer_names() {
  return joined({llama_attention_names(),
                 llama_mlp_names(),
                 {{Role::q_norm, "self_attn.q_norm"},
                  {Role::k_norm, "self_attn.k_norm"},
                  {Role::attention_post_norm, "post_attention_layernorm"},
                  {Role::mlp_post_norm, "post_feedforward_layernorm"}}});
}

}  // namespace streamline
