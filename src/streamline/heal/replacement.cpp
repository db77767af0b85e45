// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/replacement.h"

#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/base/nearest.h"
#include "streamline/base/parse_number.h"
#include "streamline/surgery/fold.h"

namespace streamline {

#define REPLACEMENT(id)                    \
  namespace id##_replacement {             \
    extern const Replacement kReplacement; \
  }
#include "streamline/heal/replacements.def"
#undef REPLACEMENT

std::span<const Replacement* const> replacements() {
#define REPLACEMENT(id) &id##_replacement::kReplacement,
  static const Replacement* const all[] = {
#include "streamline/heal/replacements.def"
  };
#undef REPLACEMENT
  return all;
}

const Replacement& find_replacement(std::string_view name, std::string_view also) {
  std::vector<std::string> known = {"none"};
  std::string names = known.front();
  for (const Replacement* replacement : replacements()) {
    if (replacement->name == name) return *replacement;
    names += ", " + known.emplace_back(replacement->name);
  }
  if (!also.empty()) names += ", " + known.emplace_back(also);
  fail(ErrorKind::usage, "no replacement is called '", name, "'; there are ", names, nearest_text(name, known));
}

LayerConfig usual_shape(const Replacement& replacement, const Config& model) {
  const auto whole = std::ranges::find_if(model.layers, &LayerConfig::whole);
  return replacement.shape(model, whole == model.layers.end() ? 0 : whole - model.layers.begin());
}

Folding folding_of(const Replacement& replacement, const Config& model) {
  const LayerConfig shape = usual_shape(replacement, model);
  const auto holds = [&](const LayerConfig& layer) { return layer.whole() && folds_into(shape, layer); };
  return std::ranges::any_of(model.layers, holds) ? Folding::ordinary_layer : Folding::extension;
}

std::int64_t replacement_parameters(const Replacement& replacement, const Config& model, std::int64_t first) {
  return layer_parameters(model, replacement.shape(model, first));
}

ReplacementChoice parse_replacement(std::string_view text, std::string_view also) {
  const std::size_t colon = text.find(':');
  const Replacement& network = find_replacement(text.substr(0, colon), also);
  if (colon == std::string_view::npos) return network;
  const std::int64_t count = parse_number<std::int64_t>(text.substr(colon + 1)).value_or(0);
  if (count < 1)
    fail(ErrorKind::usage, "'", text, "': after the colon stands how many in a row, as in '", network.name, ":2'");
  if (count > 1 && network.before > 0)
    fail(ErrorKind::usage, "'", text, "': '", network.name, "' changes the layer before the window; there is one");
  const bool whole = network.closed_form == ClosedForm::constant || network.closed_form == ClosedForm::low_rank;
  if (count > 1 && whole)
    fail(ErrorKind::usage, "'", text, "': '", network.name, "' is one equation for the whole window; there is one");
  return {network, count};
}

namespace {

// Takes `count` layers from the end of the last segment.
void shorten(std::vector<Segment>& segments, std::int64_t count, const Segment& window, std::string_view name) {
  if (segments.empty() || segments.back().action != Action::keep || segments.back().count() < count)
    fail(ErrorKind::usage, "'", name,
         "' changes the layer before the window, and there is none that stays before layers ", window.first, "..",
         window.last, "; protect one (--protect), or choose another replacement");
  segments.back().last -= count;
  if (segments.back().count() == 0) segments.pop_back();
}

}  // namespace

Plan with_networks(const Plan& plan, const ReplacementChoice& choice) {
  Plan result = plan;
  result.segments.clear();
  for (Segment segment : plan.segments) {
    if (segment.action != Action::replace || segment.replacement != choice.network->name) {
      result.segments.push_back(std::move(segment));
      continue;
    }
    shorten(result.segments, choice.network->before, segment, choice.network->name);
    segment.first -= choice.network->before;
    if (segment.count() < choice.count)
      fail(ErrorKind::usage, choice.count, " networks in place of layers ", segment.first, "..", segment.last,
           ": there is at most one a layer");
    for (std::int64_t i = 0; i < choice.count; ++i) {
      Segment part = segment;
      part.first = segment.first + segment.count() * i / choice.count;
      part.last = segment.first + segment.count() * (i + 1) / choice.count - 1;
      result.segments.push_back(std::move(part));
    }
  }
  return result;
}

}  // namespace streamline
