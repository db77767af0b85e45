// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/gguf_names.h"

#include <charconv>

namespace streamline {
namespace {

constexpr std::string_view kLayerPrefix = "blk.", kExperts = "_exps";

constexpr RoleName kUsualNames[] = {
    {Role::token_embedding, "token_embd"},
    {Role::position_embedding, "position_embd"},
    {Role::final_norm, "output_norm"},
    {Role::head, "output"},
    {Role::attention_norm, "attn_norm"},
    {Role::attention_post_norm, "post_attention_norm"},
    {Role::qkv, "attn_qkv"},
    {Role::q, "attn_q"},
    {Role::k, "attn_k"},
    {Role::v, "attn_v"},
    {Role::o, "attn_output"},
    {Role::q_norm, "attn_q_norm"},
    {Role::k_norm, "attn_k_norm"},
    {Role::mlp_norm, "ffn_norm"},
    {Role::mlp_post_norm, "post_ffw_norm"},
    {Role::router, "ffn_gate_inp"},
    {Role::shared_router, "ffn_gate_inp_shexp"},
    {Role::shared_gate, "ffn_gate_shexp"},
    {Role::shared_up, "ffn_up_shexp"},
    {Role::shared_down, "ffn_down_shexp"},
    {Role::gate, "ffn_gate"},
    {Role::up, "ffn_up"},
    {Role::down, "ffn_down"},
};

// "7.attn_q" after the prefix: moves past the number.
std::optional<std::int64_t> read_layer(std::string_view& name) {
  std::int32_t layer = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  const auto digits = static_cast<std::size_t>(end - name.data());
  if (error != std::errc() || layer < 0 || digits == name.size() || *end != '.') return std::nullopt;
  if (digits > 1 && name[0] == '0') return std::nullopt;
  name.remove_prefix(digits + 1);
  return layer;
}

std::optional<Part> read_part(std::string_view& name) {
  for (const auto& [ending, part] : {std::pair{std::string_view(".weight"), Part::weight}, {".bias", Part::bias}})
    if (name.ends_with(ending)) {
      name.remove_suffix(ending.size());
      return part;
    }
  return std::nullopt;
}

// Empty for a role that the family does not have in these files.
std::string_view role_in_gguf(const Family& family, Role role, bool experts) {
  const auto find = [role](const auto& names) {
    for (const RoleName& known : names)
      if (known.role == role) return known.name;
    return std::string_view();
  };
  if (experts) return family.experts && !find(family.experts->names).empty() ? find(kUsualNames) : std::string_view();
  if (!has_role(family, role)) return {};
  const std::string_view own = find(family.gguf.names);
  return own.empty() ? find(kUsualNames) : own;
}

}  // namespace

std::optional<GgufTensorName> parse_gguf_tensor(const Family& family, std::string_view name) {
  std::int64_t layer = -1;
  if (name.starts_with(kLayerPrefix)) {
    name.remove_prefix(kLayerPrefix.size());
    const auto number = read_layer(name);
    if (!number) return std::nullopt;
    layer = *number;
  }
  const auto part = read_part(name);
  if (!part) return std::nullopt;
  const bool experts = name.ends_with(kExperts);
  if (experts) name.remove_suffix(kExperts.size());
  for (int i = 0; i <= static_cast<int>(kLastRole); ++i) {
    const Role role = static_cast<Role>(i);
    if (is_layer_role(role) != (layer >= 0) || name.empty() || role_in_gguf(family, role, experts) != name) continue;
    return GgufTensorName{layer, role, *part, experts};
  }
  return std::nullopt;
}

std::string gguf_tensor_name(const Family& family, std::int64_t layer, Role role, Part part, bool experts) {
  const std::string_view stem = role_in_gguf(family, role, experts);
  if (stem.empty()) return {};
  std::string name = layer < 0 ? "" : std::string(kLayerPrefix) + std::to_string(layer) + ".";
  name.append(stem).append(experts ? kExperts : "");
  return name.append(part == Part::weight ? ".weight" : ".bias");
}

Family as_in_gguf(Family family) {
  std::erase_if(family.layer_names, [](const RoleName& entry) { return is_stack_role(entry.role); });
  if (family.experts) family.experts->stacked = false;
  for (RoleName& entry : family.layer_names) entry.name = role_in_gguf(family, entry.role, false);
  for (RoleName& entry : family.global_names) entry.name = role_in_gguf(family, entry.role, false);
  family.layer_prefix = kLayerPrefix;
  if (has_role(family, Role::qkv)) family.traits.qkv = QkvLayout::stacked;
  family.traits.transposed = false;
  family.other_names = nullptr;
  return family;
}

Family followed_by(Family family, const Family& other) {
  family.other_names = &other;
  return family;
}

const Family& family_in_gguf(const Family& family) {
  for (const Family* other = &family; other != nullptr; other = other->other_names)
    if (other->layer_prefix == kLayerPrefix) return *other;
  return family;
}

}  // namespace streamline
