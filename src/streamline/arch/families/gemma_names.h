// SPDX-License-Identifier: Apache-2.0
// Tensor names of Gemma 2 and 3: Llama's, with a norm before and after each half.
#pragma once

#include "streamline/arch/families/llama_names.h"

namespace streamline {

inline RoleNames gemma_layer_names() {
  return joined({llama_attention_names(),
                 llama_mlp_names(),
                 {{Role::attention_norm, "input_layernorm"},
                  {Role::attention_post_norm, "post_attention_layernorm"},
                  {Role::mlp_norm, "pre_feedforward_layernorm"},
                  {Role::mlp_post_norm, "post_feedforward_layernorm"}}});
}

}  // namespace streamline
