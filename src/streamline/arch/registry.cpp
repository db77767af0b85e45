// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "streamline/arch/family.h"

namespace streamline {
namespace families_list {
#define FAMILY(name) const Family& name();
#include "streamline/arch/families/families.def"
#undef FAMILY
}  // namespace families_list

std::span<const Family* const> families() {
  static const std::array list = {
#define FAMILY(name) &families_list::name(),
#include "streamline/arch/families/families.def"
#undef FAMILY
  };
  return list;
}

const Family* find_family(std::string_view model_type) {
  for (const Family* family : families())
    if (std::find(family->model_types.begin(), family->model_types.end(), model_type) != family->model_types.end())
      return family;
  return nullptr;
}

bool has_role(const Family& family, Role role) {
  const std::vector<RoleName>& names = is_layer_role(role) ? family.layer_names : family.global_names;
  return std::any_of(names.begin(), names.end(), [&](const RoleName& entry) { return entry.role == role; });
}

const Family* find_gguf_family(std::string_view arch, bool experts) {
  for (const Family* family : families())
    if (!arch.empty() && family->gguf.arch == arch && family->experts.has_value() == experts) return family;
  return nullptr;
}

}  // namespace streamline
