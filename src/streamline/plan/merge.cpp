// SPDX-License-Identifier: Apache-2.0
#include "streamline/plan/merge.h"

#include <algorithm>
#include <optional>

#include "streamline/base/error.h"
#include "streamline/plan/layer_text.h"
#include "streamline/plan/slice.h"

namespace streamline {
namespace {

// What becomes of one layer, and who said so.
struct MergedLayer {
  bool attention = true, mlp = true;  // what is left of it
  std::optional<SegmentOrigin> replaced = {};
  LayerSlice slice = {};
  std::size_t cut_by = 0;  // the last plan that cut of it

  bool whole() const { return attention && mlp && slice.empty(); }
};

// What both keep. Errors: mismatch for units of different layers.
KeptUnits kept_by_both(const KeptUnits& a, const KeptUnits& b, std::int64_t layer) {
  if (a.of != b.of)
    fail(ErrorKind::mismatch, "the plans slice layer ", layer, " out of ", a.of, " and out of ", b.of,
         " units; plans of one model can be merged");
  KeptUnits both{.of = a.of};
  std::set_intersection(a.kept.begin(), a.kept.end(), b.kept.begin(), b.kept.end(), std::back_inserter(both.kept));
  return both;
}

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
    for (const auto& [layer, slice] : plans_[plan].plan.slices) cut_inside(layer, slice, plan);
  }

  MergedPlan result() const {
    MergedPlan merged;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const auto layer = static_cast<std::int64_t>(i);
      const MergedLayer what = without_empty_halves(layers_[i], layer);
      append(merged, layer, what);
      if (!what.slice.empty()) merged.plan.slices[layer] = what.slice;
    }
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

  void cut_inside(std::int64_t layer, const LayerSlice& slice, std::size_t plan) {
    MergedLayer& merged = at(layer);
    if (merged.replaced) contradict(*merged.replaced, plan, "slices layer " + std::to_string(layer));
    merged.cut_by = plan;
    if (slice.kv_heads)
      merged.slice.kv_heads =
          merged.slice.kv_heads ? kept_by_both(*merged.slice.kv_heads, *slice.kv_heads, layer) : *slice.kv_heads;
    std::vector<KeptUnits>& channels = merged.slice.channels;
    if (channels.empty()) channels = slice.channels;
    if (slice.channels.empty()) return;
    if (channels.size() == 1) channels.resize(slice.channels.size(), channels.front());
    if (slice.channels.size() != 1 && slice.channels.size() != channels.size())
      fail(ErrorKind::mismatch, "the plans slice the experts of layer ", layer, " as ", channels.size(), " and as ",
           slice.channels.size(), "; plans of one model can be merged");
    for (std::size_t i = 0; i < channels.size(); ++i)
      channels[i] = kept_by_both(channels[i], slice.channels[slice.channels.size() == 1 ? 0 : i], layer);
  }

  // Without slices of halves that go, and without halves of which nothing would be left.
  static MergedLayer without_empty_halves(MergedLayer what, std::int64_t layer) {
    std::vector<KeptUnits>& channels = what.slice.channels;
    if (what.slice.kv_heads && what.slice.kv_heads->kept.empty()) what.attention = false;
    const auto is_empty = [](const KeptUnits& units) { return units.kept.empty(); };
    if (!channels.empty() && std::all_of(channels.begin(), channels.end(), is_empty)) what.mlp = false;
    if (!what.attention) what.slice.kv_heads.reset();
    if (!what.mlp) channels.clear();
    for (const KeptUnits& units : channels)
      if (units.count() != channels.front().count())
        fail(ErrorKind::mismatch, "together the plans keep different numbers of channels of the experts of layer ",
             layer, ", which are of one width; leave one of the plans out");
    return what;
  }

  // The layer's own segment, or the one before it made longer.
  static Action action_of(const MergedLayer& what) {
    if (what.attention) return what.mlp ? Action::keep : Action::drop_mlp;
    return what.mlp ? Action::drop_attention : Action::drop;
  }
  void append(MergedPlan& merged, std::int64_t layer, const MergedLayer& what) const {
    std::vector<Segment>& segments = merged.plan.segments;
    if (what.replaced) {
      if (segment(*what.replaced).first != layer) return;
      merged.replaced[std::ssize(segments)] = *what.replaced;
      segments.push_back(segment(*what.replaced));
      return;
    }
    const Action action = action_of(what);
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
  for (std::size_t i = 0; i < plans.size(); ++i)
    if (plans[i].plan.masks) merged.with_masks.push_back(i);
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
