// SPDX-License-Identifier: Apache-2.0
// What tensors are called in GGUF files: "blk.7.attn_q.weight", in nearly all families alike.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "streamline/arch/family.h"

namespace streamline {

struct GgufTensorName {
  std::int64_t layer = -1;  // < 0 for whole-model roles
  Role role = Role::q;
  Part part = Part::weight;
  bool experts = false;  // the matrices of all experts, one after the other
};

// nullopt for a name that stands for no role of the family.
std::optional<GgufTensorName> parse_gguf_tensor(const Family& family, std::string_view name);
// Empty for a role that GGUF files of the family do not have.
std::string gguf_tensor_name(const Family& family, std::int64_t layer, Role role, Part part, bool experts = false);

// The family as GGUF files have it where that is more than other names: q, k and v stacked where they are one matrix,
// no matrix turned, each expert apart. Its tensors are called as in GGUF files; it stands at the end of the chain of
// `other_names`.
Family as_in_gguf(Family family);
// `family` with `other` as the next in the chain; `other` must outlive it.
Family followed_by(Family family, const Family& other);
// The member of the chain that as_in_gguf() made, or the family itself.
const Family& family_in_gguf(const Family& family);

}  // namespace streamline
