// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/unit_choice.h"

#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/prune/layer_choice.h"

namespace streamline {
namespace {

Proposal drop_layers_of(const PruneContext& context, const Json& params, std::string_view method,
                        std::string_view importance, const std::vector<ScoredUnit>& units) {
  if (!params.at("halves").is_null())
    fail(ErrorKind::usage, "--halves counts halves of layers; with --units layers give --layers");
  const CutRequest request = read_cut_request(context, params, method);
  LayerImportance layers{.name = std::string(importance)};
  for (const ScoredUnit& unit : units) layers.values.push_back(unit.importance);
  return drop_least_important(context, request, layers);
}

}  // namespace

Params unit_params() {
  Params params = cut_params();
  params.push_back({.name = "halves", .type = ParamType::integer, .help = "halves of layers to drop", .minimum = 1});
  params.push_back({.name = "units",
                    .type = ParamType::text,
                    .help = "what is dropped: layers, attention, mlp, or both halves on one scale",
                    .default_value = "layers",
                    .choices = {"layers", "attention", "mlp", "both"}});
  return params;
}

Units units_of(const Json& params) {
  const auto name = params.at("units").get<std::string>();
  const bool both = name == "both";
  return {.name = name, .halves = {.attention = both || name == "attention", .mlp = both || name == "mlp"}};
}

UnitStack unit_stack(const Model& model, const Units& units, std::string_view method) {
  UnitStack stack{.parts = units.layers() ? layer_parts(model) : half_parts(model)};
  for (std::size_t i = 0; i < stack.parts.size(); ++i) {
    const StackPart& part = stack.parts[i];
    const bool alone = units.layers() || model.config().layers[static_cast<std::size_t>(part.layer)].whole();
    const bool wanted = units.layers() || (part.attention ? units.halves.attention : units.halves.mlp);
    if (alone && wanted) stack.units.push_back(i);
  }
  if (stack.units.empty())
    fail(ErrorKind::usage, method,
         " needs layers that have an attention and an MLP of which one can go alone; this model has none");
  return stack;
}

void check_sizes(const PruneContext& context, const Json& params, std::string_view method,
                 const std::vector<ScoredUnit>& units) {
  // Whether there is room for what is put back depends on which layers go.
  const bool depends = context.replacement.before > 0 || context.replacement.layers > 1;
  if (depends && units_of(params).layers()) return;
  drop_least_important_units(context, params, method, "", units);
}

void check_sizes(const PruneContext& context, const Json& params, std::string_view method, const UnitStack& stack) {
  std::vector<ScoredUnit> units;
  for (const std::size_t unit : stack.units) units.push_back({stack.parts[unit]});
  check_sizes(context, params, method, units);
}

Proposal drop_least_important_units(const PruneContext& context, const Json& params, std::string_view method,
                                    std::string_view importance, const std::vector<ScoredUnit>& units) {
  const Units kind = units_of(params);
  if (kind.layers()) return drop_layers_of(context, params, method, importance, units);
  if (!params.at("cut").is_null())
    fail(ErrorKind::usage, "--cut counts whole layers; with --units ", kind.name, " give --layers or --halves");
  std::vector<ScoredHalf> halves;
  for (const ScoredUnit& unit : units) halves.push_back({unit.part.layer, unit.part.attention, unit.importance});
  // On ties attentions go first.
  std::ranges::stable_partition(halves, [](const ScoredHalf& half) { return half.attention; });
  return drop_least_important_halves(context, params, method, kind.halves, halves);
}

}  // namespace streamline
