// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <string>

#include "streamline/base/error.h"
#include "streamline/base/nearest.h"
#include "streamline/prune/method.h"

namespace streamline {

#define METHOD(name)             \
  namespace name##_method {      \
    extern const Method kMethod; \
  }
#include "streamline/prune/methods.def"
#undef METHOD

std::span<const Method* const> methods() {
  static const auto all = std::to_array<const Method*>({
#define METHOD(name) &name##_method::kMethod,
#include "streamline/prune/methods.def"
#undef METHOD
  });
  return all;
}

const Method& find_method(std::string_view name) {
  std::vector<std::string> known;
  std::string names;
  for (const Method* method : methods()) {
    if (method->name == name) return *method;
    names += (names.empty() ? "" : ", ") + known.emplace_back(method->name);
  }
  fail(ErrorKind::usage, "no pruning method '", name, "'; there are: ", names, nearest_text(name, known));
}

}  // namespace streamline
