// SPDX-License-Identifier: Apache-2.0
#include "streamline/plan/layer_text.h"

namespace streamline {

std::string layer_range(std::int64_t first, std::int64_t last) {
  if (first == last) return std::to_string(first);
  return std::to_string(first) + ".." + std::to_string(last);
}

std::string named_range(std::int64_t first, std::int64_t last) {
  return (first == last ? "layer " : "layers ") + layer_range(first, last);
}

}  // namespace streamline
