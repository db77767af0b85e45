// SPDX-License-Identifier: Apache-2.0
// What a tensor does in a model, whatever it is called in a file.
#pragma once

#include <optional>
#include <string_view>

namespace streamline {

enum class Role {
  // whole model
  token_embedding,
  position_embedding,
  final_norm,
  head,
  // attention half of a layer
  attention_norm,
  q,
  k,
  v,
  o,
  q_norm,
  k_norm,
  // MLP half of a layer; `up` is the first matrix of an MLP without gate
  mlp_norm,
  gate,
  up,
  down,
};

enum class Part { weight, bias };

std::string_view role_name(Role role);
std::optional<Role> parse_role(std::string_view name);
bool is_layer_role(Role role);
bool is_attention_role(Role role);  // attention_norm … k_norm

}  // namespace streamline
