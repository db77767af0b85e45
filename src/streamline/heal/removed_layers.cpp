// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/removed_layers.h"

#include <filesystem>
#include <optional>

#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/plan/plan.h"

namespace streamline {
namespace {

std::optional<Plan> plan_beside(const Model& cut) {
  const auto path = std::filesystem::path(cut.checkpoint().label()) / "streamline" / "plan.json";
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return {};
  Plan plan = plan_from_json(parse_json(read_text(path), path.string()), path.string());
  const std::size_t left = lower(plan).size();
  if (static_cast<std::int64_t>(left) != cut.layer_count())
    fail(ErrorKind::mismatch, path.string(), ": leaves ", left, " layers; the model beside it has ", cut.layer_count());
  return plan;
}

RemovedLayers removed_by(const Plan& plan, std::int64_t at) {
  const std::vector<OutputLayer> left = lower(plan);
  const OutputLayer &before = left[static_cast<std::size_t>(at - 1)], &behind = left[static_cast<std::size_t>(at)];
  if (before.replaced || behind.replaced) return {};
  return {.first = before.source + 1, .count = behind.source - before.source - 1};
}

void check_same_widths(const Model& cut, const Model& original) {
  const Config &a = cut.config(), &b = original.config();
  if (a.hidden != b.hidden || a.vocab != b.vocab)
    fail(ErrorKind::mismatch, original.checkpoint().label(), ": has a width of ", b.hidden, " and a vocabulary of ",
         b.vocab, "; ", cut.checkpoint().label(), " has ", a.hidden, " and ", a.vocab);
}

bool same_weights(const LayerWeights& a, const LayerWeights& b) {
  const std::vector<torch::Tensor> left = a.all(), right = b.all();
  bool same = left.size() == right.size();
  for (std::size_t i = 0; same && i < left.size(); ++i) same = torch::equal(left[i], right[i]);
  return same;
}

RemovedLayers removed_by_weights(const Model& cut, const Model& original, std::int64_t at) {
  const std::int64_t missing = original.layer_count() - cut.layer_count();
  if (missing < 1)
    fail(ErrorKind::mismatch, original.checkpoint().label(), ": has ", original.layer_count(), " layers, and ",
         cut.checkpoint().label(), " as many or more; it is not what that was cut from");
  if (!same_weights(cut.layer(at), original.layer(at + missing)))
    fail(ErrorKind::mismatch, "layer ", at, " of ", cut.checkpoint().label(), " is not layer ", at + missing, " of ",
         original.checkpoint().label(), "; --late must be the number of layers behind the cut");
  return {.first = at, .count = missing};
}

}  // namespace

std::int64_t layers_behind_cut(const Model& cut) {
  const std::optional<Plan> plan = plan_beside(cut);
  if (!plan)
    fail(ErrorKind::usage, cut.checkpoint().label(),
         ": has no streamline/plan.json that says where it was cut; give --late, the number of layers behind the cut");
  for (std::int64_t at = cut.layer_count() - 1; at > 0; --at)
    if (removed_by(*plan, at).count > 0) return cut.layer_count() - at;
  fail(ErrorKind::usage, cut.checkpoint().label(), ": by its plan no layers are missing between two of its layers");
}

RemovedLayers removed_before(const Model& cut, const Model& original, std::int64_t at) {
  SL_ASSERT(at > 0 && at < cut.layer_count());
  check_same_widths(cut, original);
  const std::optional<Plan> plan = plan_beside(cut);
  if (!plan) return removed_by_weights(cut, original, at);
  const std::string& digest = plan->base.digest;
  if (plan->base.layers != original.layer_count() || (!digest.empty() && digest != original.checkpoint().digest()))
    fail(ErrorKind::mismatch, original.checkpoint().label(), ": is not the model that ", cut.checkpoint().label(),
         " was cut from, by its plan");
  const RemovedLayers removed = removed_by(*plan, at);
  if (removed.count < 1)
    fail(ErrorKind::mismatch, "no layers are missing in front of layer ", at, " of ", cut.checkpoint().label(),
         ", or something stands in their place; --late must be the number of layers behind the cut");
  return removed;
}

}  // namespace streamline
