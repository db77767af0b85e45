// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/role.h"

#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr std::string_view kRoleNames[] = {"token_embedding",
                                           "position_embedding",
                                           "project_in",
                                           "project_out",
                                           "final_norm",
                                           "head",
                                           "attention_norm",
                                           "attention_post_norm",
                                           "qkv",
                                           "q",
                                           "k",
                                           "v",
                                           "o",
                                           "q_norm",
                                           "k_norm",
                                           "mlp_norm",
                                           "mlp_post_norm",
                                           "router",
                                           "shared_router",
                                           "shared_gate",
                                           "shared_up",
                                           "shared_down",
                                           "stacked_gate_up",
                                           "stacked_down",
                                           "gate_up",
                                           "gate",
                                           "up",
                                           "down"};

}  // namespace

std::string_view role_name(Role role) {
  const auto index = static_cast<std::size_t>(role);
  SL_ASSERT(index < std::size(kRoleNames));
  return kRoleNames[index];
}

std::optional<Role> parse_role(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kRoleNames); ++i)
    if (kRoleNames[i] == name) return static_cast<Role>(i);
  return std::nullopt;
}

bool is_layer_role(Role role) { return role >= kFirstLayerRole; }
bool is_stack_role(Role role) { return role == Role::stacked_gate_up || role == Role::stacked_down; }

bool is_attention_role(Role role) { return role >= Role::attention_norm && role <= Role::k_norm; }

bool is_norm_role(Role role) {
  switch (role) {
    case Role::final_norm:
    case Role::attention_norm:
    case Role::attention_post_norm:
    case Role::q_norm:
    case Role::k_norm:
    case Role::mlp_norm:
    case Role::mlp_post_norm:
      return true;
    default:
      return false;
  }
}

}  // namespace streamline
