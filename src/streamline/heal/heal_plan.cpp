// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/heal_plan.h"

#include <algorithm>

#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/base/unfinished.h"
#include "streamline/heal/run_key.h"
#include "streamline/heal/train_state.h"
#include "streamline/nn/weights_digest.h"
#include "streamline/plan/slice.h"
#include "streamline/surgery/apply.h"

namespace streamline {
namespace {

bool replaces(const Segment& segment, const ReplacementChoice& choice) {
  return segment.action == Action::replace && segment.replacement == choice.network->name;
}

// The first `done` of the plan's windows replaced, all later ones kept whole.
Plan so_far(const Plan& plan, const ReplacementChoice& choice, std::size_t done) {
  Plan result = plan;
  std::size_t window = 0;
  for (Segment& segment : result.segments)
    if (replaces(segment, choice) && window++ >= done) segment.action = Action::keep, segment.replacement.clear();
  return with_networks(result, choice);
}

// Of all weights, in order; empty for none.
std::string digest_of(const std::vector<LayerWeights>& networks) {
  if (networks.empty()) return "";
  Sha256 digest;
  for (const LayerWeights& network : networks) add_weights(digest, network);
  return digest.hex();
}

// What the model that a plan leaves has otherwise than the source, `networks` being what it has for layers; empty where
// that is nothing.
std::string view_digest(const Plan& plan, const std::vector<LayerWeights>& networks) {
  const std::vector<OutputLayer> layers = lower(plan);
  bool same = std::ssize(layers) == plan.base.layers;
  Json parts = Json::array();
  for (const OutputLayer& layer : layers) {
    same = same && layer.untouched();
    parts.push_back({layer.source, layer.replaced, layer.attention, layer.mlp});
  }
  return same ? "" : sha256(parts.dump() + slices_to_json(plan.slices).dump() + digest_of(networks));
}

// Where a layer of the source stands in the model that a plan leaves.
std::int64_t position_of(const Plan& plan, std::int64_t layer) {
  const auto layers = lower(plan);
  return std::count_if(layers.begin(), layers.end(), [&](const OutputLayer& output) { return output.source < layer; });
}

std::filesystem::path state_file(const HealPlanOptions& options, std::int64_t first) {
  return options.state_directory / ("window-" + std::to_string(first) + ".safetensors");
}

}  // namespace

bool worse_than_nothing(const HealResult& result) { return !(result.last().best <= result.last().nothing); }

void check_states(const Model& source, const Plan& plan, const ReplacementChoice& choice, const TokenBatches& training,
                  const TokenBatches& validation, const HealPlanOptions& options) {
  std::vector<const Segment*> windows;
  for (const Segment& segment : plan.segments)
    if (replaces(segment, choice)) windows.push_back(&segment);
  for (const std::filesystem::path& file : states_in(options.state_directory)) {
    const auto is_of = [&](const Segment* window) {
      return file.filename() == state_file(options, window->first).filename();
    };
    if (std::ranges::none_of(windows, is_of))
      fail(ErrorKind::mismatch, file.string(),
           ": is the state of another plan, which replaces other layers; delete it, or give another --state");
  }
  if (windows.empty()) return;
  const Segment& first = *windows.front();
  const Plan before = so_far(plan, choice, 0);
  HealOptions heal = options.heal;
  heal.view_digest = view_digest(before, {});
  const HealedWindow window{position_of(before, first.first), first.count(), choice.network->before};
  static_cast<void>(load_progress(state_file(options, first.first),
                                  healing_key(source.view(before, {}), window, choice, training, validation, heal)));
}

HealedPlan heal_plan(const Model& source, const Plan& plan, const ReplacementChoice& choice,
                     const TokenBatches& training, const TokenBatches& validation, const HealPlanOptions& options) {
  HealedPlan healed{.plan = with_networks(plan, choice)};
  std::vector<LayerWeights> networks;  // of all windows so far, in order of depth
  const auto numbered = [&](const Plan& of) {
    Replacements replacements;
    std::size_t next = 0;
    for (std::size_t i = 0; i < of.segments.size() && next < networks.size(); ++i)
      if (replaces(of.segments[i], choice)) replacements[static_cast<std::int64_t>(i)] = networks[next++];
    return replacements;
  };
  if (!options.state_directory.empty()) remove_unfinished(options.state_directory);
  for (const Segment& segment : plan.segments) {
    if (!replaces(segment, choice)) continue;
    const Plan before = so_far(plan, choice, healed.windows.size());
    const Model model = source.view(before, numbered(before));
    HealOptions heal = options.heal;
    if (!options.state_directory.empty()) heal.state_file = state_file(options, segment.first);
    heal.view_digest = view_digest(before, networks);
    HealResult result =
        heal_window(model, position_of(before, segment.first), segment.count(), choice, training, validation, heal);
    for (const LayerWeights& network : result.weights) networks.push_back(as_stored(network, source.config()));
    healed.windows.push_back({segment.first, segment.count(), std::move(result)});
  }
  healed.replacements = numbered(healed.plan);
  return healed;
}

Json to_json(const HealedPlanWindow& window) {
  Json json = {{"first", window.first}, {"count", window.count}};
  json.update(to_json(window.result));
  return json;
}

}  // namespace streamline
