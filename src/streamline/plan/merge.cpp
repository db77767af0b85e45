// SPDX-License-Identifier: Apache-2.0
#include "streamline/plan/merge.h"

#include <optional>

#include "streamline/base/error.h"
#include "streamline/plan/layer_text.h"

namespace streamline {
namespace {

// What becomes of one layer, and who said so.
struct MergedLayer {
  bool attention = true, mlp = true;  // what is left of it
  std::optional<SegmentOrigin> replaced = {};
  std::size_t cut_by = 0;  // the last plan that cut of it

  bool whole() const { return attention && mlp; }
};

void check_same_model(const NamedPlan& first, const NamedPlan& other) {
  if (first.plan.base.layers != other.plan.base.layers)
    fail(ErrorKind::mismatch, other.name, " is a plan for ", other.plan.base.layers, " layers, ", first.name, " for ",
         first.plan.base.layers, "; plans of one model can be merged");
  if (!first.plan.base.digest.empty() && !other.plan.base.digest.empty() &&
      first.plan.base.digest != other.plan.base.digest)
    fail(ErrorKind::mismatch, other.name, " was made for other weights than ", first.name,
         "; plans of one model can be merged");
}

class Merge {
 public:
  explicit Merge(std::span<const NamedPlan> plans)
      : plans_(plans), layers_(static_cast<std::size_t>(plans.front().plan.base.layers)) {}

  void add(std::size_t plan) {
    const std::vector<Segment>& segments = plans_[plan].plan.segments;
    for (std::size_t s = 0; s < segments.size(); ++s) {
      if (segments[s].action == Action::keep) continue;
      const SegmentOrigin origin{.plan = plan, .segment = static_cast<std::int64_t>(s)};
      if (segments[s].action == Action::replace)
        replace(origin);
      else
        drop(origin);
    }
  }

  MergedPlan result() const {
    MergedPlan merged;
    for (std::size_t layer = 0; layer < layers_.size(); ++layer) append(merged, static_cast<std::int64_t>(layer));
    return merged;
  }

 private:
  const Segment& segment(const SegmentOrigin& origin) const {
    return plans_[origin.plan].plan.segments[static_cast<std::size_t>(origin.segment)];
  }
  MergedLayer& at(std::int64_t layer) { return layers_[static_cast<std::size_t>(layer)]; }

  bool are_same(const SegmentOrigin& a, const SegmentOrigin& b) const {
    const Segment &one = segment(a), &other = segment(b);
    return one.first == other.first && one.last == other.last && one.replacement == other.replacement &&
           one.weights_sha256 == other.weights_sha256 && (one.weights_sha256.empty() || a.segment == b.segment);
  }

  [[noreturn]] void contradict(const SegmentOrigin& replaced, std::size_t other, const std::string& what) const {
    const Segment& run = segment(replaced);
    fail(ErrorKind::mismatch, plans_[replaced.plan].name, " replaces ", named_range(run.first, run.last), " by '",
         run.replacement, "', and ", plans_[other].name, " ", what,
         "; what is replaced cannot be cut again: leave one of the two out");
  }

  void replace(const SegmentOrigin& origin) {
    const Segment& run = segment(origin);
    for (std::int64_t layer = run.first; layer <= run.last; ++layer) {
      MergedLayer& merged = at(layer);
      if (!merged.whole()) contradict(origin, merged.cut_by, "cuts layer " + std::to_string(layer));
      if (merged.replaced && !are_same(*merged.replaced, origin))
        contradict(*merged.replaced, origin.plan,
                   "replaces " + named_range(run.first, run.last) + " by '" + run.replacement + "'");
    }
    for (std::int64_t layer = run.first; layer <= run.last; ++layer)
      if (!at(layer).replaced) at(layer).replaced = origin;
  }

  void drop(const SegmentOrigin& origin) {
    const Segment& run = segment(origin);
    for (std::int64_t layer = run.first; layer <= run.last; ++layer) {
      MergedLayer& merged = at(layer);
      if (merged.replaced) contradict(*merged.replaced, origin.plan, "cuts layer " + std::to_string(layer));
      merged.attention = merged.attention && run.action == Action::drop_mlp;
      merged.mlp = merged.mlp && run.action == Action::drop_attention;
      merged.cut_by = origin.plan;
    }
  }

  // The layer's own segment, or the one before it made longer.
  void append(MergedPlan& merged, std::int64_t layer) const {
    const MergedLayer& what = layers_[static_cast<std::size_t>(layer)];
    std::vector<Segment>& segments = merged.plan.segments;
    if (what.replaced) {
      if (segment(*what.replaced).first != layer) return;
      merged.replaced[std::ssize(segments)] = *what.replaced;
      segments.push_back(segment(*what.replaced));
      return;
    }
    const Action action = what.whole()     ? Action::keep
                          : what.mlp       ? Action::drop_attention
                          : what.attention ? Action::drop_mlp
                                           : Action::drop;
    if (!segments.empty() && segments.back().action == action)
      segments.back().last = layer;
    else
      segments.push_back({.first = layer, .last = layer, .action = action});
  }

  std::span<const NamedPlan> plans_;
  std::vector<MergedLayer> layers_;
};

}  // namespace

MergedPlan merge_plans(std::span<const NamedPlan> plans) {
  if (plans.empty()) fail(ErrorKind::usage, "there is no plan to merge");
  Merge merge(plans);
  for (std::size_t i = 0; i < plans.size(); ++i) {
    check_same_model(plans.front(), plans[i]);
    merge.add(i);
  }
  MergedPlan merged = merge.result();
  Plan& plan = merged.plan;
  plan.base = plans.front().plan.base;
  plan.method.name = "merge";
  for (const auto& [name, from] : plans) {
    if (plan.base.digest.empty()) plan.base = from.base;
    plan.method.parameters["plans"].push_back(to_json(from).at("method"));
  }
  validate(plan);
  return merged;
}

}  // namespace streamline
