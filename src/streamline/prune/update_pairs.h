// SPDX-License-Identifier: Apache-2.0
// The updates of many pairs of states at once, so that threads are woken once.
#pragma once

#include <span>
#include <vector>

#include "streamline/engine/ranks.h"
#include "streamline/prune/update_statistics.h"

namespace streamline {

struct StatePair {
  torch::Tensor in = {}, out = {};  // [tokens, hidden] of one sequence
};

// What update_statistics(in, out) says of each, to the bit.
std::vector<UpdateStatistics> update_statistics(std::span<const StatePair> pairs);

// Sums of updates over ranks, each of its own sequences.
void sum_updates(const Ranks& ranks, std::span<UpdateStatistics> updates);

}  // namespace streamline
