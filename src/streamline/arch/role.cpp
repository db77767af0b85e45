// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/role.h"

#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr std::string_view kNames[] = {"token_embedding",
                                       "position_embedding",
                                       "final_norm",
                                       "head",
                                       "attention_norm",
                                       "q",
                                       "k",
                                       "v",
                                       "o",
                                       "q_norm",
                                       "k_norm",
                                       "mlp_norm",
                                       "gate",
                                       "up",
                                       "down"};

}  // namespace

std::string_view role_name(Role role) {
  const auto index = static_cast<std::size_t>(role);
  SL_ASSERT(index < std::size(kNames));
  return kNames[index];
}

std::optional<Role> parse_role(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kNames); ++i)
    if (kNames[i] == name) return static_cast<Role>(i);
  return std::nullopt;
}

bool is_layer_role(Role role) { return role >= Role::attention_norm; }
bool is_attention_role(Role role) { return role >= Role::attention_norm && role <= Role::k_norm; }

}  // namespace streamline
