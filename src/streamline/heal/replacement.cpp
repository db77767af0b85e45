// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/replacement.h"

#include "streamline/base/error.h"

namespace streamline {

#define REPLACEMENT(id) extern const Replacement id##_replacement;
#include "streamline/heal/replacements.def"
#undef REPLACEMENT

std::span<const Replacement* const> replacements() {
#define REPLACEMENT(id) &id##_replacement,
  static const Replacement* const all[] = {
#include "streamline/heal/replacements.def"
  };
#undef REPLACEMENT
  return all;
}

const Replacement& find_replacement(std::string_view name) {
  std::string known = "none";
  for (const Replacement* replacement : replacements()) {
    if (replacement->name == name) return *replacement;
    known += ", " + std::string(replacement->name);
  }
  fail(ErrorKind::usage, "no replacement is called '", name, "'; there are ", known);
}

std::int64_t replacement_parameters(const Replacement& replacement, const Config& model, std::int64_t first) {
  return layer_parameters(model, replacement.shape(model, first));
}

}  // namespace streamline
