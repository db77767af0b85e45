// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/harness_names.h"

#include <array>
#include <utility>

namespace streamline {

std::string benchmark_of(std::string_view set) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kPrefixes{{
      {"lukaemon_mmlu_", "mmlu"},
      {"mmlu_", "mmlu"},
      {"cmmlu-", "cmmlu"},
      {"cmmlu_", "cmmlu"},
      {"ceval-", "ceval"},
  }};
  for (const auto& [prefix, benchmark] : kPrefixes)
    if (set.starts_with(prefix)) return std::string(benchmark);
  return std::string(set);
}

std::string model_folder(std::string_view model) {
  constexpr std::string_view kDisliked = "\"<>:/|\\?*[]";
  std::string folder;
  bool inside = false;
  for (const char byte : model) {
    const bool disliked = kDisliked.find(byte) != std::string_view::npos || byte == '\0';
    if (!disliked) folder += byte;
    if (disliked && !inside) folder += "__";
    inside = disliked;
  }
  // A name of dots only would be another folder than it says.
  return folder.find_first_not_of('.') == std::string::npos ? "model" : folder;
}

}  // namespace streamline
