// SPDX-License-Identifier: Apache-2.0
// Several plans of one model as a single plan that cuts what any of them cuts.
#pragma once

#include <map>
#include <span>

#include "streamline/plan/plan.h"

namespace streamline {

struct NamedPlan {
  std::string name;  // for messages: the file it comes from
  Plan plan;
};

// A segment of one of the plans.
struct SegmentOrigin {
  std::size_t plan = 0;
  std::int64_t segment = 0;

  bool operator==(const SegmentOrigin&) const = default;
};

struct MergedPlan {
  Plan plan;                                       // by "merge", which records whose plans went in
  std::map<std::int64_t, SegmentOrigin> replaced;  // where each of its replaced segments comes from
  // Plans that mask weights. Their masks together are masks of `plan`, which has none yet: they lie in files, see
  // surgery/merge_files.h.
  std::vector<std::size_t> with_masks = {};
};

// A layer goes where one of the plans drops it, or where one drops its attention and another its MLP. What one replaces
// the others must leave alone, or replace by the same. Errors: usage for no plans; mismatch, naming the plans and the
// layers, for plans of other models and for cuts that contradict each other; mismatch where nothing would be left.
MergedPlan merge_plans(std::span<const NamedPlan> plans);

}  // namespace streamline
