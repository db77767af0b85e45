// SPDX-License-Identifier: Apache-2.0
// Several windows at once: which runs of layers, none touching another's, turn the hidden state least together.
#pragma once

#include <optional>

#include "streamline/prune/scores.h"

namespace streamline {

// `windows` disjoint windows with `count` layers in all, as equal in length as that allows, whose cosines add up to the
// most; in order of depth. Before each at least `before` layers stay that no window takes. `protect`: layers that must
// not be cut. Errors: usage when there are fewer layers than windows to cut, or no room for them.
std::vector<Window> disjoint_windows(const Scores& scores, std::int64_t count, std::int64_t windows,
                                     std::int64_t before, const std::vector<std::int64_t>& protect);
// The same; empty where it would fail.
std::optional<std::vector<Window>> possible_windows(const Scores& scores, std::int64_t count, std::int64_t windows,
                                                    std::int64_t before, const std::vector<std::int64_t>& protect);

}  // namespace streamline
