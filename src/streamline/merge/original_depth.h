// SPDX-License-Identifier: Apache-2.0
// How deep the layers of a pruned base were before it was pruned.
#pragma once

#include "streamline/merge/merge_plan.h"

namespace streamline::merge {

// Fills the depths of `lines` from streamline/plan.json, which a pruned model carries. Errors: io where the reference
// has none; mismatch where the plan leaves another number of layers.
void count_original_depths(const MergePlan& plan, Lines& lines);

}  // namespace streamline::merge
