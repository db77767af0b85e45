// SPDX-License-Identifier: Apache-2.0
// What a text says of many models that have some of the parts of one: those that begin with the same parts share what
// these compute.
#pragma once

#include "streamline/prune/leave_one_out.h"
#include "streamline/prune/prefix_states.h"

namespace streamline {

// Which parts of a stack are there, one flag a part.
using PartSet = std::vector<bool>;

// Parts in front of which all of a and b are alike; both are of one stack.
std::size_t common_beginning(const PartSet& a, const PartSet& b);

struct PartSetOptions {
  TextMeasure measure = TextMeasure::loss;
  std::string label = {};      // of the progress line; empty: none
  PrefixLimits prefixes = {};  // of what enters the parts of a batch
};

// The mean over sequences of the measure, one value a set; infinity where it is no number. All sets and, where the
// measure compares with it, the whole model are one prefix tree: each distinct beginning of parts is computed once a
// batch, so that the parts executed are the tree's nodes. Of M parts, M - 1 of them in each of M sets, that are at most
// M(M + 1)/2 - 1 instead of M(M - 1); more only where the limits do not let all beginnings be kept. Sets may repeat.
// Values do not depend on the other sets.
std::vector<double> part_set_values(const Model& model, std::span<const StackPart> stack, std::span<const PartSet> sets,
                                    std::span<const TextBatch> text, const PartSetOptions& options,
                                    PartCounter& counter);

}  // namespace streamline
