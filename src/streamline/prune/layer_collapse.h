// SPDX-License-Identifier: Apache-2.0
// LaCo's walk over the layers (arXiv 2402.11187): from above downwards, a group of layers is folded into its first
// where the model's output stays like that of the whole model.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace streamline {

struct CollapseOptions {
  std::int64_t combine = 4;              // C: layers that become one
  std::int64_t interval = 2;             // I: steps down after a fold
  std::int64_t lowest = 0, highest = 0;  // L, H: the first base is highest - combine, the last is lowest
  double threshold = 0;                  // T: a fold is kept where the likeness is above it
  bool paper_clamp = false;              // after a fold keep a whole group above the base; else only stay in the model
  std::int64_t most = INT64_C(1) << 32;  // layers to lose at most; the last fold is made to fit, and ends the walk
};

struct CollapseStep {
  std::int64_t base = 0, followers = 0;  // in the stack as it then is
  double likeness = 0;
  bool accepted = false;
};

// likeness_of(base, followers): of the output when those layers are folded; fold(base, followers) makes it so.
std::vector<CollapseStep> collapse(std::int64_t layers, const CollapseOptions& options,
                                   const std::function<double(std::int64_t, std::int64_t)>& likeness_of,
                                   const std::function<void(std::int64_t, std::int64_t)>& fold);

}  // namespace streamline
