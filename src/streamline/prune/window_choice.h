// SPDX-License-Identifier: Apache-2.0
// One run of layers, chosen by how alike the states at its ends are.
#pragma once

#include "streamline/prune/cut_request.h"

namespace streamline {

// How alike what enters and what leaves a window is, by any measure; higher is more.
using Likeness = std::function<double(std::int64_t start, std::int64_t count)>;

// Which windows may be cut at all.
struct CutRule {
  std::int64_t layers = 0;  // of the model
  std::int64_t before = 0;  // layers that must stay before it
  std::vector<std::int64_t> protect = {};
};

// All starts of one length, the most alike first, ties to the earliest; may be empty.
std::vector<std::int64_t> ranked_starts(const Likeness& likeness, const CutRule& rule, std::int64_t count);
// The first of them.
std::optional<std::int64_t> best_start(const Likeness& likeness, const CutRule& rule, std::int64_t count);

// The count whose window, as start_of says, saves the share that is asked for, where the request names no count.
std::int64_t closest_window_count(const PruneContext& context, double sparsity,
                                  const std::function<std::optional<std::int64_t>(std::int64_t count)>& start_of);

}  // namespace streamline
