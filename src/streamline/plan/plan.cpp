// SPDX-License-Identifier: Apache-2.0
// Plans: their invariant (segments tile the source's layers in order), how they are made, and what stack they describe.
#include "streamline/plan/plan.h"

#include <algorithm>

#include "streamline/arch/config.h"
#include "streamline/base/error.h"
#include "streamline/plan/drop_halves.h"
#include "streamline/plan/layer_text.h"
#include "streamline/plan/slice.h"

namespace streamline {

namespace {

void check_range(const Segment& segment, std::int64_t next, std::int64_t layers) {
  const auto [first, last] = std::pair(segment.first, segment.last);
  if (first < 0 || last < first) fail(ErrorKind::mismatch, "plan: segment ", first, "..", last, " is not a range");
  if (last >= layers)
    fail(ErrorKind::mismatch, "plan: segment ", first, "..", last, " ends outside the ", layers,
         " layers of the source");
  if (first > next) {
    fail(ErrorKind::mismatch, "plan: ", named_range(next, first - 1), first - next == 1 ? " is" : " are",
         " not covered; segments must tile 0..", layers - 1, " in order");
  }
  if (first < next) {
    const std::int64_t end = std::min(last, next - 1);
    fail(ErrorKind::mismatch, "plan: ", named_range(first, end), first == end ? " is" : " are", " covered twice");
  }
}

bool is_sha256(const std::string& digest) {
  return digest.size() == 64 && std::all_of(digest.begin(), digest.end(),
                                            [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// A weights file lies beside the plan: a plain name cannot lead out of its directory.
bool is_plain_name(const std::string& name) {
  return name.find_first_of("/\\") == std::string::npos && name.find('\0') == std::string::npos && name != "." &&
         name != "..";
}

void check_replacement(const Segment& segment) {
  const std::string where = "plan: segment " + layer_range(segment.first, segment.last);
  if (segment.action != Action::replace) {
    if (!segment.replacement.empty() || !segment.weights_file.empty() || !segment.weights_sha256.empty())
      fail(ErrorKind::mismatch, where, " names a replacement but its action is not replace");
    return;
  }
  if (segment.replacement.empty() || segment.replacement == "none")
    fail(ErrorKind::mismatch, where, " is replaced, but does not say by what; name a replacement or drop the layers");
  if (!is_plain_name(segment.weights_file))
    fail(ErrorKind::mismatch, where, ": weights file '", segment.weights_file,
         "' is not a plain file name; it must lie beside the plan");
  if (segment.weights_file.empty() ? !segment.weights_sha256.empty() : !is_sha256(segment.weights_sha256))
    fail(ErrorKind::mismatch, where, ": sha256 '", segment.weights_sha256,
         "' must be 64 lower-case hexadecimal digits, and be there exactly when a weights file is");
}

void check_masks(const PlanMasks& masks) {
  if (masks.file.empty() || !is_plain_name(masks.file))
    fail(ErrorKind::mismatch, "plan: masks file '", masks.file,
         "' is not a plain file name; it must lie beside the plan");
  if (!is_sha256(masks.sha256))
    fail(ErrorKind::mismatch, "plan: sha256 '", masks.sha256,
         "' of the masks must be 64 lower-case hexadecimal digits");
}

void append(Plan& plan, Segment segment) {
  if (segment.first <= segment.last) plan.segments.push_back(std::move(segment));
}

// "layers 2, 5..6" of every segment with this action; empty when there is none.
std::string ranges(const Plan& plan, Action action) {
  std::string list;
  std::int64_t layers = 0;
  for (const Segment& segment : plan.segments) {
    if (segment.action != action) continue;
    list += (list.empty() ? "" : ", ") + layer_range(segment.first, segment.last);
    layers += segment.count();
  }
  return list.empty() ? list : (layers == 1 ? "layer " : "layers ") + list;
}

std::int64_t layers_left(const Segment& segment) {
  switch (segment.action) {
    case Action::drop:
      return 0;
    case Action::replace:
      return 1;
    default:
      return segment.count();
  }
}

// Of layers 0 … layers-1 those that are listed.
std::vector<bool> marked(std::int64_t layers, const std::vector<std::int64_t>& listed) {
  std::vector<bool> marks(static_cast<std::size_t>(std::max<std::int64_t>(layers, 0)));
  for (const std::int64_t layer : listed) {
    if (layer < 0 || layer >= layers)
      fail(ErrorKind::mismatch, "layer ", layer, " cannot be dropped: the model has layers 0..", layers - 1);
    if (marks[static_cast<std::size_t>(layer)]) fail(ErrorKind::mismatch, "layer ", layer, " is dropped twice");
    marks[static_cast<std::size_t>(layer)] = true;
  }
  return marks;
}

}  // namespace

void validate(const Plan& plan) {
  if (plan.base.layers < 1 || plan.base.layers > kMaxLayers)
    fail(ErrorKind::mismatch, "plan: the source has ", plan.base.layers, " layers; expected at least one, at most ",
         kMaxLayers);
  std::int64_t next = 0, left = 0;
  for (const Segment& segment : plan.segments) {
    check_range(segment, next, plan.base.layers);
    check_replacement(segment);
    next = segment.last + 1;
    left += layers_left(segment);
  }
  if (next < plan.base.layers) {
    fail(ErrorKind::mismatch, "plan: ", named_range(next, plan.base.layers - 1),
         plan.base.layers - next == 1 ? " is" : " are", " not covered");
  }
  if (left == 0) fail(ErrorKind::mismatch, "plan: no layer is left; keep or replace at least one");
  validate_slices(plan);
  if (plan.masks) check_masks(*plan.masks);
}

bool cuts_layers(const Plan& plan) {
  return std::ranges::any_of(plan.segments, [](const Segment& segment) { return segment.action != Action::keep; });
}

std::vector<OutputLayer> lower(const Plan& plan) {
  validate(plan);
  std::vector<OutputLayer> layers;
  for (std::size_t s = 0; s < plan.segments.size(); ++s) {
    const Segment& segment = plan.segments[s];
    const auto index = static_cast<std::int64_t>(s);
    for (std::int64_t i = 0; i < layers_left(segment); ++i) {
      const std::int64_t layer = segment.first + i;
      layers.push_back({.source = layer,
                        .segment = index,
                        .replaced = segment.action == Action::replace,
                        .attention = segment.action != Action::drop_attention,
                        .mlp = segment.action != Action::drop_mlp,
                        .mlp_source = layer,
                        .slice = slice_of(plan, layer)});
    }
  }
  return layers;
}

Plan keep_all(std::int64_t layers) {
  Plan plan{.base = {.layers = layers}};
  plan.method.name = "manual";
  append(plan, {.first = 0, .last = layers - 1});
  return plan;
}

Plan cut_window(std::int64_t layers, std::int64_t first, std::int64_t count, const std::string& replacement) {
  return cut_windows(layers, {{first, count}}, replacement);
}

Plan cut_windows(std::int64_t layers, const std::vector<LayerRun>& runs, const std::string& replacement) {
  const bool replaced = !replacement.empty() && replacement != "none";
  Plan plan{.base = {.layers = layers}};
  plan.method.name = "manual";
  std::int64_t next = 0;
  for (const auto& [first, count] : runs) {
    if (count < 1 || first < next || first >= layers || count > layers - first)
      fail(ErrorKind::mismatch, "window of ", count, " layers from layer ", first, " does not lie in the model's ",
           layers, " layers (", next, "..", layers - 1, ")");
    append(plan, {.first = next, .last = first - 1});
    append(plan, {.first = first,
                  .last = first + count - 1,
                  .action = replaced ? Action::replace : Action::drop,
                  .replacement = replaced ? replacement : ""});
    next = first + count;
  }
  append(plan, {.first = next, .last = layers - 1});
  validate(plan);
  return plan;
}

Plan drop_layers(std::int64_t layers, const std::vector<std::int64_t>& dropped) {
  return drop_halves(layers, dropped, dropped);
}

Plan drop_halves(std::int64_t layers, const std::vector<std::int64_t>& attention,
                 const std::vector<std::int64_t>& mlp) {
  const std::vector<bool> no_attention = marked(layers, attention), no_mlp = marked(layers, mlp);
  Plan plan{.base = {.layers = layers}};
  plan.method.name = "manual";
  for (std::size_t layer = 0; layer < no_mlp.size(); ++layer) {
    const Action action = no_attention[layer] ? (no_mlp[layer] ? Action::drop : Action::drop_attention)
                                              : (no_mlp[layer] ? Action::drop_mlp : Action::keep);
    const auto at = static_cast<std::int64_t>(layer);
    if (plan.segments.empty() || plan.segments.back().action != action) {
      plan.segments.push_back({.first = at, .last = at, .action = action});
    } else {
      plan.segments.back().last = at;
    }
  }
  validate(plan);
  return plan;
}

std::string summary(const Plan& plan) {
  std::string text;
  for (const auto& [action, what] : {std::pair(Action::drop, "dropped "),
                                     {Action::drop_attention, "dropped the attention of "},
                                     {Action::drop_mlp, "dropped the MLP of "}}) {
    if (const std::string dropped = ranges(plan, action); !dropped.empty())
      text += (text.empty() ? "" : "; ") + (what + dropped);
  }
  for (const Segment& segment : plan.segments) {
    if (segment.action != Action::replace) continue;
    text += (text.empty() ? "replaced " : "; replaced ") + named_range(segment.first, segment.last) + " by one " +
            segment.replacement;
  }
  if (const std::string inside = slice_summary(plan); !inside.empty()) {
    std::vector<std::int64_t> layers;
    for (const auto& [layer, slice] : plan.slices) layers.push_back(layer);
    text += (text.empty() ? "sliced " : "; sliced ") + std::string(layers.size() == 1 ? "layer " : "layers ") +
            index_ranges(layers) + ": without " + inside;
  }
  const std::string masked = plan.masks ? ", single weights masked" : "";
  if (text.empty()) return "kept all " + std::to_string(plan.base.layers) + " layers" + masked;
  return text + " (of " + std::to_string(plan.base.layers) + ")" + masked;
}

}  // namespace streamline
