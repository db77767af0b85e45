// SPDX-License-Identifier: Apache-2.0
// What tensors are called in GGUF files, whatever the family: "blk.7.attn_q.weight".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "streamline/arch/role.h"

namespace streamline {

struct GgufTensorName {
  std::int64_t layer = -1;  // < 0 for whole-model roles
  Role role = Role::q;
  Part part = Part::weight;
};

// nullopt for a name that stands for no role.
std::optional<GgufTensorName> parse_gguf_tensor(std::string_view name);
// Empty for a role that GGUF files do not have.
std::string gguf_tensor_name(std::int64_t layer, Role role, Part part);

}  // namespace streamline
