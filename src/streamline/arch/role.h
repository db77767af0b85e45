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
  project_in,  // from the width of the embeddings to that of the residual stream, and back
  project_out,
  final_norm,
  head,
  // attention half of a layer; `qkv` holds q, k and v in one matrix (QkvLayout)
  attention_norm,
  attention_post_norm,
  qkv,
  q,
  k,
  v,
  o,
  q_norm,
  k_norm,
  // MLP half of a layer; `gate_up` is the gate's rows above those of `up`; `up` is the first matrix of an MLP without
  // gate. A sparse one has a router, its experts' gate, up and down each, and perhaps an expert that all tokens share.
  // `stacked_gate_up` and `stacked_down` hold those of all experts, [experts, in, out].
  mlp_norm,
  mlp_post_norm,
  router,
  shared_router,
  shared_gate,
  shared_up,
  shared_down,
  stacked_gate_up,
  stacked_down,
  gate_up,
  gate,
  up,
  down,
};
constexpr Role kFirstLayerRole = Role::attention_norm, kLastRole = Role::down;

enum class Part { weight, bias };

std::string_view role_name(Role role);
std::optional<Role> parse_role(std::string_view name);
bool is_layer_role(Role role);
bool is_attention_role(Role role);  // attention_norm … k_norm
bool is_stack_role(Role role);      // stacked_gate_up, stacked_down: no ".weight" behind the name
bool is_norm_role(Role role);       // weights of one dimension, near one (near zero with an offset)

}  // namespace streamline
