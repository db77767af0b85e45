// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/window_choice.h"

#include <algorithm>

#include "streamline/prune/cut_size.h"

namespace streamline {

std::vector<std::int64_t> ranked_starts(const Likeness& likeness, const CutRule& rule, std::int64_t count) {
  std::vector<std::pair<double, std::int64_t>> starts;
  for (std::int64_t start = rule.before; start + count <= rule.layers; ++start)
    if (!holds_any(rule.protect, start, count)) starts.emplace_back(likeness(start, count), start);
  std::stable_sort(starts.begin(), starts.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<std::int64_t> ranked(starts.size());
  std::transform(starts.begin(), starts.end(), ranked.begin(), [](const auto& entry) { return entry.second; });
  return ranked;
}

std::optional<std::int64_t> best_start(const Likeness& likeness, const CutRule& rule, std::int64_t count) {
  const std::vector<std::int64_t> ranked = ranked_starts(likeness, rule, count);
  return ranked.empty() ? std::nullopt : std::optional(ranked.front());
}

std::int64_t closest_window_count(const PruneContext& context, double sparsity,
                                  const std::function<std::optional<std::int64_t>(std::int64_t count)>& start_of) {
  return closest_cut(sparsity, most_layers(context),
                     [&](std::int64_t count) -> std::optional<double> {
                       const auto start = start_of(count);
                       return start ? std::optional(sparsity_of(context, {{*start, count}})) : std::nullopt;
                     })
      .count;
}

}  // namespace streamline
