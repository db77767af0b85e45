// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/widths.h"

#include <algorithm>

#include "streamline/arch/decilm.h"
#include "streamline/arch/layer_shapes.h"
#include "streamline/base/error.h"
#include "streamline/base/number_text.h"
#include "streamline/base/resources.h"
#include "streamline/plan/stack.h"

namespace streamline {
namespace {

// Rows of experts are whole blocks of 16 bytes in half precision, as grouped matrix products of transformers 5 ask for.
constexpr std::int64_t kExpertStep = 8;

const LayerConfig& layer_of(const Config& config, std::int64_t layer) {
  return config.layers[static_cast<std::size_t>(layer)];
}

bool is_sliced(const std::vector<OutputLayer>& stack) {
  return std::any_of(stack.begin(), stack.end(), [](const OutputLayer& layer) { return !layer.slice.empty(); });
}

// A replacement is folded into a layer of the source's widths.
bool is_replaced(const std::vector<OutputLayer>& stack) {
  return std::any_of(stack.begin(), stack.end(), [](const OutputLayer& layer) { return layer.replaced; });
}

// With the source's heads.
LayerConfig with_heads(LayerConfig shape, const LayerConfig& source, std::int64_t kv_heads) {
  if (!shape.attention) return shape;
  shape.attention->heads = source.attention->heads / source.attention->kv_heads * kv_heads;
  shape.attention->kv_heads = kv_heads;
  return shape;
}

// The least number of heads for keys and values from `kv_heads` on whose query heads divide the hidden size, where
// those of the source do: transformers 5 refuses other Llama and Gemma configurations, whatever head_dim says.
std::int64_t loadable_heads(const Config& config, std::int64_t kv_heads) {
  for (const LayerConfig& layer : config.layers) {
    if (!layer.attention) continue;
    const AttentionConfig& source = *layer.attention;
    if (config.hidden % source.heads != 0) return kv_heads;
    const std::int64_t group = source.heads / source.kv_heads;
    while (kv_heads < source.kv_heads && config.hidden % (group * kv_heads) != 0) ++kv_heads;
    return kv_heads;
  }
  return kv_heads;
}

// The widths of an ordinary result: those of its widest layers.
ModelWidths ordinary_widths(const Config& config, const std::vector<OutputLayer>& stack) {
  ModelWidths widths = largest_widths(config.layers);
  if (!is_sliced(stack) || is_replaced(stack)) return widths;
  std::vector<LayerConfig> layers;
  for (const OutputLayer& layer : stack)
    if (is_ordinary(layer_of(config, layer.source))) layers.push_back(layer_config(config, layer));
  for (LayerConfig& layer : layers) layer.partial = !layer.whole();
  const ModelWidths kept = largest_widths(layers);
  if (kept.kv_heads != 0 && says_heads(*config.family)) widths.kv_heads = loadable_heads(config, kept.kv_heads);
  if (kept.dense != 0 && !config.family->keys.intermediate.empty()) widths.dense = kept.dense;
  if (kept.expert != 0)
    widths.expert = std::min(widths.expert, (kept.expert + kExpertStep - 1) / kExpertStep * kExpertStep);
  return widths;
}

LayerConfig ordinary_shape(const Config& config, const std::vector<OutputLayer>& stack, const OutputLayer& layer) {
  const ModelWidths widths = ordinary_widths(config, stack);
  LayerConfig shape = layer_of(config, layer.source);
  shape.mlp = layer_of(config, layer.mlp_source).mlp;
  if (shape.attention) shape = with_heads(shape, layer_of(config, layer.source), widths.kv_heads);
  if (shape.mlp) shape.mlp->intermediate = shape.mlp->experts ? widths.expert : widths.dense;
  return shape;
}

std::int64_t parameters_of(const Config& config, const std::vector<LayerConfig>& layers) {
  std::int64_t parameters = 0;
  for (const LayerConfig& layer : layers) parameters += layer_parameters(config, layer);
  return parameters;
}

// With the first units of those that went, up to `count`.
void widen(KeptUnits& units, std::int64_t count) {
  for (std::int64_t unit = 0; unit < units.of && units.count() < count; ++unit) {
    const auto place = std::lower_bound(units.kept.begin(), units.kept.end(), unit);
    if (place == units.kept.end() || *place != unit) units.kept.insert(place, unit);
  }
}

// A plan, and what stands in for its segments.
struct Written {
  Plan plan;
  Replacements replacements;
};

// Where a half stands alone: cuts the segment around its layer and keeps that whole, the other half as wide as `shape`.
void keep_both_halves(Written& written, const Config& config, const OutputLayer& layer, const LayerConfig& shape) {
  const std::int64_t index = layer.attention ? layer.source : layer.mlp_source;
  const LayerConfig& source = layer_of(config, index);
  if (!source.attention || !source.mlp) return;  // the source has no other half
  std::vector<Segment>& segments = written.plan.segments;
  const auto around = std::ranges::find_if(segments, [&](const Segment& segment) { return index <= segment.last; });
  const std::int64_t place = around - segments.begin();
  std::vector<Segment> pieces;
  const auto add = [&](std::int64_t first, std::int64_t last, Action action) {
    if (first <= last) pieces.push_back({.first = first, .last = last, .action = action});
  };
  add(around->first, index - 1, around->action);
  add(index, index, Action::keep);
  add(index + 1, around->last, around->action);
  segments.insert(segments.erase(around), pieces.begin(), pieces.end());
  Replacements moved;
  for (auto& [segment, weights] : written.replacements)
    moved[segment > place ? segment + std::ssize(pieces) - 1 : segment] = weights;
  written.replacements = std::move(moved);

  const auto first_units = [](std::int64_t of, std::int64_t count) {
    KeptUnits units{.of = of};
    widen(units, count);
    return units;
  };
  if (!layer.attention && shape.attention->kv_heads < source.attention->kv_heads)
    written.plan.slices[index].kv_heads = first_units(source.attention->kv_heads, shape.attention->kv_heads);
  if (!layer.mlp && shape.mlp->intermediate < source.mlp->intermediate)
    written.plan.slices[index].channels = {first_units(source.mlp->intermediate, shape.mlp->intermediate)};
}

}  // namespace

LayerConfig stored_shape_of(const Config& config, const std::vector<OutputLayer>& stack, const OutputLayer& layer,
                            LayerForm form) {
  SL_ASSERT(!layer.replaced);
  if (form == LayerForm::ordinary) return ordinary_shape(config, stack, layer);
  LayerConfig shape = layer_config(config, layer);
  const LayerConfig& source = layer_of(config, layer.source);
  const bool own_heads = form == LayerForm::per_layer && says_heads(*config.family);
  if (shape.attention && !own_heads) shape = with_heads(shape, source, source.attention->kv_heads);
  if (form == LayerForm::decilm) return decilm_layer(shape);
  shape.partial = !shape.whole();
  return shape;
}

Model written_view(const Model& source, const Plan& plan, const Replacements& replacements, LayerForm form) {
  const Config& config = source.config();
  Written written{plan, replacements};
  const std::vector<OutputLayer> stack = output_layers(config, plan);
  for (const OutputLayer& layer : stack) {
    if (layer.replaced || !is_ordinary(layer_of(config, layer.source))) continue;
    const LayerConfig shape = stored_shape_of(config, stack, layer, form);
    if (form == LayerForm::ordinary && !layer.whole()) keep_both_halves(written, config, layer, shape);
    const auto attention = written.plan.slices.find(layer.source), mlp = written.plan.slices.find(layer.mlp_source);
    if (layer.attention && attention != written.plan.slices.end() && attention->second.kv_heads)
      widen(*attention->second.kv_heads, shape.attention->kv_heads);
    if (layer.mlp && mlp != written.plan.slices.end())
      for (KeptUnits& units : mlp->second.channels) widen(units, shape.mlp->intermediate);
  }
  return source.view(written.plan, written.replacements);
}

std::vector<std::string> width_notes(const Config& config, const std::vector<OutputLayer>& stack, LayerForm form) {
  if (!is_sliced(stack)) return {};
  std::vector<LayerConfig> whole, kept, written, decilm;
  const bool may_be_decilm = form == LayerForm::ordinary && !is_replaced(stack) && why_not_decilm(config).empty();
  for (const OutputLayer& layer : stack) {
    if (layer.replaced) continue;
    OutputLayer unsliced = layer;
    unsliced.slice = {};
    whole.push_back(layer_config(config, unsliced));
    kept.push_back(layer_config(config, layer));
    LayerConfig shape = stored_shape_of(config, stack, layer, form);
    if (!layer.attention) shape.attention.reset();  // its zeros are packing_note()'s
    if (!layer.mlp) shape.mlp.reset();
    written.push_back(std::move(shape));
    if (may_be_decilm) decilm.push_back(stored_shape_of(config, stack, layer, LayerForm::decilm));
  }
  const std::int64_t before = parameters_of(config, whole), real = parameters_of(config, kept),
                     stored = parameters_of(config, written);
  std::vector<std::string> notes = {"slices take " + format_millions(before - real) + " of " + format_millions(before) +
                                    " parameters of these layers"};
  if (stored == real) {
    notes.back() += ", and all of it is gained: nothing is padded";
    return notes;
  }
  notes.back() += ", of which " + format_millions(before - stored) + " are gained and " +
                  format_millions(stored - real) +
                  " are written as padding: zeros that take memory and time and change nothing";
  if (form == LayerForm::ordinary && is_replaced(stack)) {
    notes.push_back("beside a replacement, which has the source's widths, all layers keep them");
  } else if (form == LayerForm::ordinary) {
    const ModelWidths kept_widths = largest_widths(written);
    notes.push_back(
        "an ordinary " + std::string(config.family->name) +
        " model has one width for all its layers (methods of widths give them one with --scope local), that of the "
        "widest: " +
        counted(kept_widths.kv_heads, "head") + " for keys and values" +
        (kept_widths.dense > 0 ? ", MLPs of " + std::to_string(kept_widths.dense) : "") +
        (kept_widths.expert > 0 ? ", experts of " + std::to_string(kept_widths.expert) : ""));
    if (const std::int64_t other = parameters_of(config, decilm); may_be_decilm && other < stored)
      notes.push_back("--format decilm gives each MLP its own width, rounded up to " + std::to_string(kBlockWidth) +
                      ": " + format_millions(stored - other) + " parameters fewer");
  }
  if (form == LayerForm::ordinary && !is_replaced(stack) &&
      largest_widths(written).kv_heads > largest_widths(kept).kv_heads && says_heads(*config.family))
    notes.push_back("with the heads that are left, a number that does not divide the hidden size " +
                    std::to_string(config.hidden) + ", transformers 5 would refuse the configuration");
  if (form != LayerForm::per_layer && !says_heads(*config.family))
    notes.push_back("the configuration of " + std::string(config.family->title) +
                    " cannot say the size of a head beside their number: heads that went are zeros");
  if (form == LayerForm::decilm) notes.push_back("DeciLM has one number of heads: heads that went are zeros");
  return notes;
}

}  // namespace streamline
