// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/layer_collapse.h"

#include <algorithm>

namespace streamline {

std::vector<CollapseStep> collapse(std::int64_t layers, const CollapseOptions& options,
                                   const std::function<double(std::int64_t, std::int64_t)>& likeness_of,
                                   const std::function<void(std::int64_t, std::int64_t)>& fold) {
  std::vector<CollapseStep> steps;
  std::int64_t left = layers, base = options.highest - options.combine;
  while (base >= options.lowest && layers - left < options.most) {
    const std::int64_t followers = std::min({options.combine - 1, left - 1 - base, options.most - (layers - left)});
    if (followers < 1) {
      --base;
      continue;
    }
    CollapseStep step{.base = base, .followers = followers, .likeness = likeness_of(base, followers)};
    step.accepted = step.likeness > options.threshold;
    steps.push_back(step);
    if (!step.accepted) {
      --base;
      continue;
    }
    fold(base, followers);
    left -= followers;
    base -= options.interval;
    if (options.paper_clamp) {
      base = std::min(base, left - options.combine);
    } else if (base >= left) {
      base = left - 1 - options.combine;
    }
  }
  return steps;
}

}  // namespace streamline
