// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/names.h"

#include <algorithm>

#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr std::string_view kExtension = "replacement.";

std::string_view suffix(Part part) { return part == Part::weight ? ".weight" : ".bias"; }

const RoleName* find_name(const std::vector<RoleName>& names, Role role) {
  for (const RoleName& candidate : names)
    if (candidate.role == role) return &candidate;
  return nullptr;
}

std::string_view find_role(const std::vector<RoleName>& names, Role role) {
  const RoleName* found = find_name(names, role);
  return found == nullptr ? std::string_view() : found->name;
}

// The role whose name, and then a dot, `text` starts with.
std::optional<Role> role_at(const std::vector<RoleName>& names, std::string_view text) {
  for (const RoleName& candidate : names) {
    const std::size_t length = candidate.name.size();
    if (!text.starts_with(candidate.name)) continue;
    if (candidate.bare ? text.size() == length : text.size() > length && text[length] == '.') return candidate.role;
  }
  return std::nullopt;
}

}  // namespace

std::string tensor_name(const Family& family, std::int64_t layer, Role role, Part part) {
  SL_ASSERT((layer >= 0) == is_layer_role(role));
  const RoleName* name = find_name(layer < 0 ? family.global_names : family.layer_names, role);
  if (name == nullptr || (name->bare && part == Part::bias)) return {};
  std::string full = std::string(name->name).append(name->bare ? "" : suffix(part));
  return layer < 0 ? full : layer_tensor(family, layer, full);
}

std::string expert_tensor_name(const Family& family, std::int64_t layer, std::int64_t expert, Role role, Part part) {
  SL_ASSERT(layer >= 0 && expert >= 0);
  if (!family.experts) return {};
  const std::string_view name = find_role(family.experts->names, role);
  if (name.empty()) return {};
  const std::string number = std::to_string(expert);
  std::string full = std::string(family.experts->prefix).append(number).append(".").append(name).append(suffix(part));
  return layer_tensor(family, layer, full);
}

std::string extension_tensor_name(const Family& family, std::int64_t layer, Role role, Part part) {
  SL_ASSERT(layer >= 0 && is_layer_role(role));
  return layer_tensor(family, layer, std::string(kExtension).append(role_name(role)).append(suffix(part)));
}

std::optional<Role> layer_role(const Family& family, std::string_view suffix) {
  if (family.experts && !family.experts->stacked && suffix.starts_with(family.experts->prefix)) {
    suffix.remove_prefix(family.experts->prefix.size());
    const std::size_t dot = suffix.find('.');  // after the expert's index
    return dot == std::string_view::npos ? std::nullopt : role_at(family.experts->names, suffix.substr(dot + 1));
  }
  return role_at(family.layer_names, suffix);
}

std::string layer_tensor(const Family& family, std::int64_t layer, std::string_view suffix) {
  return std::string(family.layer_prefix).append(std::to_string(layer)).append(".").append(suffix);
}

std::int64_t layer_expert(const Family& family, std::string_view suffix) {
  if (!family.experts || !suffix.starts_with(family.experts->prefix)) return -1;
  suffix.remove_prefix(family.experts->prefix.size());
  return parse_layer_number(suffix.substr(0, suffix.find('.'))).value_or(-1);
}

bool is_ignored(const Family& family, std::string_view name) {
  return std::any_of(family.ignored_suffixes.begin(), family.ignored_suffixes.end(),
                     [&](std::string_view suffix) { return name.ends_with(suffix); });
}

std::optional<std::int64_t> parse_layer_number(std::string_view text) {
  constexpr std::size_t kMaxDigits = 9;
  if (text.empty() || text.size() > kMaxDigits || (text[0] == '0' && text.size() > 1)) return std::nullopt;
  std::int64_t number = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '9') return std::nullopt;
    number = number * 10 + (digit - '0');
  }
  return number;
}

std::optional<LayerTensorName> parse_layer_tensor(const Family& family, std::string_view name) {
  if (!name.starts_with(family.layer_prefix)) return std::nullopt;
  name.remove_prefix(family.layer_prefix.size());
  const std::size_t dot = name.find('.');
  if (dot == std::string_view::npos || dot + 1 == name.size()) return std::nullopt;
  const std::optional<std::int64_t> layer = parse_layer_number(name.substr(0, dot));
  if (!layer) return std::nullopt;
  return LayerTensorName{*layer, std::string(name.substr(dot + 1))};
}

}  // namespace streamline
