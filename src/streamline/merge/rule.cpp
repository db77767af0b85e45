// SPDX-License-Identifier: Apache-2.0
#include "streamline/merge/rule.h"

#include "streamline/base/error.h"

namespace streamline::merge {
namespace {

constexpr Rule kRules[] = {
    {.name = "sum",
     .summary = "base + scale * the weighted sum of the task vectors (task arithmetic)",
     .mergekit = "task_arithmetic",
     .needs_base = true},
    {.name = "mean",
     .summary = "base + scale * the weighted mean of the task vectors",
     .mergekit = {},
     .normalise = true,
     .needs_base = true},
    {.name = "ties",
     .summary = "of each task vector the largest entries; of these the ones with the sign of their sum, averaged",
     .mergekit = "ties",
     .keep = Keep::largest,
     .elect = true,
     .normalise = true,
     .density = 0.2,
     .needs_base = true},
    {.name = "dare",
     .summary = "of each task vector random entries, scaled up by as much as were left out, summed",
     .mergekit = "dare_linear",
     .keep = Keep::random,
     .density = 0.1,
     .needs_base = true},
    {.name = "dare-ties",
     .summary = "of each task vector random entries, scaled up; of these the ones with the sign of their sum, summed",
     .mergekit = "dare_ties",
     .keep = Keep::random,
     .elect = true,
     .density = 0.1,
     .needs_base = true},
    {.name = "linear",
     .summary = "the weighted average of the models themselves",
     .mergekit = "linear",
     .combine = Combine::average,
     .normalise = true},
    {.name = "slerp",
     .summary = "of two models, the point at --t on the great circle between each pair of tensors",
     .mergekit = "slerp",
     .combine = Combine::slerp},
    {.name = "passthrough",
     .summary = "one model as it is",
     .mergekit = "passthrough",
     .combine = Combine::passthrough},
};

}  // namespace

std::span<const Rule> rules() { return kRules; }

const Rule& find_rule(std::string_view name) {
  if (name == "task-arithmetic") return find_rule("sum");  // what its paper calls it
  std::string known;
  for (const Rule& rule : kRules) {
    if (rule.name == name) return rule;
    known.append(known.empty() ? "" : ", ").append(rule.name);
  }
  fail(ErrorKind::usage, "there is no merging rule '", name, "'; there are task-arithmetic, ", known);
}

}  // namespace streamline::merge
