// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/nearest.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace streamline {
namespace {

// Levenshtein's distance.
std::size_t edits(std::string_view one, std::string_view other) {
  std::vector<std::size_t> row(other.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < one.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < other.size(); ++j) {
      const std::size_t changed = diagonal + (one[i] == other[j] ? 0 : 1);
      diagonal = std::exchange(row[j + 1], std::min({changed, row[j] + 1, row[j + 1] + 1}));
    }
  }
  return row.back();
}

}  // namespace

std::string nearest_text(std::string_view word, const std::vector<std::string>& known, std::string_view prefix) {
  const auto distance = [&](const std::string& name) { return edits(word, name); };
  const auto nearest = std::ranges::min_element(known, {}, distance);
  // A third of the letters; two that changed places are two edits.
  if (nearest == known.end() || distance(*nearest) > std::max<std::size_t>(1, (word.size() + 1) / 3)) return "";
  return "; the nearest is '" + std::string(prefix) + *nearest + "'";
}

}  // namespace streamline
