// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/gguf_names.h"

#include <charconv>

namespace streamline {
namespace {

constexpr std::string_view kLayerPrefix = "blk.";

struct Name {
  Role role;
  std::string_view name;
};
constexpr Name kNames[] = {
    {Role::token_embedding, "token_embd"},
    {Role::position_embedding, "position_embd"},
    {Role::final_norm, "output_norm"},
    {Role::head, "output"},
    {Role::attention_norm, "attn_norm"},
    {Role::attention_post_norm, "post_attention_norm"},
    {Role::q, "attn_q"},
    {Role::k, "attn_k"},
    {Role::v, "attn_v"},
    {Role::o, "attn_output"},
    {Role::q_norm, "attn_q_norm"},
    {Role::k_norm, "attn_k_norm"},
    {Role::mlp_norm, "ffn_norm"},
    {Role::mlp_post_norm, "post_ffw_norm"},
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

}  // namespace

std::optional<GgufTensorName> parse_gguf_tensor(std::string_view name) {
  std::int64_t layer = -1;
  if (name.starts_with(kLayerPrefix)) {
    name.remove_prefix(kLayerPrefix.size());
    const auto number = read_layer(name);
    if (!number) return std::nullopt;
    layer = *number;
  }
  const auto part = read_part(name);
  for (const Name& known : kNames)
    if (part && known.name == name && is_layer_role(known.role) == (layer >= 0))
      return GgufTensorName{layer, known.role, *part};
  return std::nullopt;
}

std::string gguf_tensor_name(std::int64_t layer, Role role, Part part) {
  for (const Name& known : kNames) {
    if (known.role != role) continue;
    std::string name = layer < 0 ? "" : std::string(kLayerPrefix) + std::to_string(layer) + ".";
    return name.append(known.name).append(part == Part::weight ? ".weight" : ".bias");
  }
  return {};
}

}  // namespace streamline
