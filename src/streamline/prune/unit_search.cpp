// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/unit_search.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "streamline/base/error.h"
#include "streamline/base/number_text.h"
#include "streamline/base/state_key.h"
#include "streamline/plan/drop_halves.h"
#include "streamline/prune/cut_request.h"
#include "streamline/prune/proposal.h"

namespace streamline {
namespace {

// Units that can go before nothing is left of the model.
std::int64_t most_units(const UnitSearch& search) {
  const auto units = std::ssize(search.stack.units);
  return units == std::ssize(search.stack.parts) ? units - 1 : units;
}

void remove_protected(const PruneContext& context, const Json& params, UnitSearch& search) {
  const auto protect = params.at("protect").get<std::vector<std::int64_t>>();
  check_protected(protect, context.model.layer_count());
  std::erase_if(search.stack.units,
                [&](std::size_t part) { return holds_any(protect, search.stack.parts[part].layer, 1); });
}

}  // namespace

Params search_params() {
  Params params = unit_params();
  std::erase_if(params, [](const Param& param) { return param.name == "cut"; });
  for (Param& param : params)
    if (param.name == "layers") param.help = "layers to drop, or as many halves as so many layers have of the kind";
  return params;
}

UnitSearch read_unit_search(const PruneContext& context, const Json& params, std::string_view method) {
  const std::optional<double> sparsity = read_sparsity(params, method, {"layers", "halves", "sparsity"});
  if (context.replacement.name != "none")
    fail(ErrorKind::usage, method, " takes out layers or halves one by one, and nothing is trained in their place; ",
         "use --replace none");
  const Units units = units_of(params);
  const auto halves = optional_value<std::int64_t>(params, "halves");
  if (units.layers() && halves)
    fail(ErrorKind::usage, "--halves counts halves of layers; with --units layers give --layers");
  UnitSearch search{.method = std::string(method), .stack = unit_stack(context.model, units, method)};
  remove_protected(context, params, search);
  if (sparsity) {
    search.parameters =
        static_cast<std::int64_t>(std::llround(*sparsity * static_cast<double>(context.model.parameters())));
    return search;
  }
  const std::int64_t each = units.halves.attention && units.halves.mlp ? 2 : 1;
  search.count = halves ? *halves : *optional_value<std::int64_t>(params, "layers") * each;
  const std::int64_t most = most_units(search);
  if (most < 1) fail(ErrorKind::usage, "--protect leaves nothing that can be taken out; protect fewer layers");
  if (search.count < 1 || search.count > most)
    fail(ErrorKind::usage, "taking out ", search.count, units.layers() ? " layers: 1 to " : " halves of layers: 1 to ",
         most, " can go");
  return search;
}

PartSet parts_without(const UnitSearch& search, const UnitSet& out) {
  PartSet parts(search.stack.parts.size(), true);
  for (const std::size_t unit : out) parts[search.stack.units[unit]] = false;
  return parts;
}

Plan plan_without(const Config& config, std::span<const StackPart> parts) {
  std::vector<std::int64_t> attention, mlp;
  for (const StackPart& part : parts) {
    const bool alone = !config.layers[static_cast<std::size_t>(part.layer)].whole();
    if (part.attention || alone) attention.push_back(part.layer);
    if (part.mlp || alone) mlp.push_back(part.layer);
  }
  return drop_halves(config.layer_count(), attention, mlp);
}

Plan plan_without(const PruneContext& context, const UnitSearch& search, const UnitSet& out) {
  std::vector<StackPart> parts;
  for (const std::size_t unit : out) parts.push_back(search.unit(unit));
  return plan_without(context.model.config(), parts);
}

UnitSet search_rounds(const PruneContext& context, const UnitSearch& search, const SearchRound& round) {
  const auto distance = [&](const UnitSet& out) {
    const std::int64_t saved = out.empty() ? 0 : parameters_saved(context, plan_without(context, search, out));
    return std::abs(search.parameters - saved);
  };
  UnitSet taken;
  const std::int64_t most = search.count > 0 ? search.count : most_units(search);
  for (std::int64_t count = 1; count <= most; ++count) {
    const std::optional<UnitSet> next = round(count);
    if (!next) break;
    if (search.count == 0 && distance(*next) >= distance(taken)) break;
    taken = *next;
  }
  if (std::ssize(taken) < search.count)
    fail(ErrorKind::usage, search.method, ": only ", taken.size(), " of ", search.count, " can be taken out");
  if (taken.empty())
    fail(ErrorKind::usage, search.method, ": the budget is less than the smallest part; nothing would be taken out");
  return taken;
}

std::string best_so_far(double value) { return ", best so far " + significant(value, 4); }

Json search_key(const PruneContext& context, std::string_view method, const Json& params) {
  Json others = params;
  for (const char* size : {"layers", "halves", "sparsity"}) others.erase(size);
  Json key = search_of_model(context.model, method, context.seed);
  key.update({{"parameters", others}, {"text", context.calibration.digest}});
  return key;
}

Json search_of_model(const Model& model, std::string_view method, std::uint64_t seed) {
  const Placement& placement = model.placement();
  return {{kStateForm, kSearchForm},
          {"method", method},
          {"model", model.checkpoint().digest()},
          {"computed in", std::string(c10::toString(placement.dtype)) + " on " + placement.device.str()},
          {"seed", seed}};
}

Json made_once(const PruneContext& context, std::string_view method, const Json& params,
               const std::function<Json()>& make) {
  if (!context.memory) return make();
  Json key = search_key(context, method, params);
  for (const char* name : {"cut", "protect"}) key["parameters"].erase(name);
  return context.memory->fact(key.dump(), make);
}

void fail_broken_state(const std::string& what) {
  fail(ErrorKind::format, "the state of the search is broken (", what, "); delete it to begin anew");
}

bool restore(const PruneContext& context, const Json& key, const std::function<void(const Json&)>& read) {
  const Json state = context.memory ? context.memory->recall(key) : Json();
  if (state.is_null()) return false;
  try {
    read(state);
  } catch (const Json::exception& error) {
    fail_broken_state(error.what());
  }
  return true;
}

UnitSet unit_set(const UnitSearch& search, const Json& json, std::size_t count) {
  const auto set = json.get<UnitSet>();
  const bool rising = std::ranges::adjacent_find(set, std::greater_equal<>()) == set.end();
  if (set.size() != count || !rising || (!set.empty() && set.back() >= search.stack.units.size()))
    fail_broken_state("a set of " + std::to_string(count) + " units is none");
  return set;
}

void keep(const PruneContext& context, const Json& key, const Json& state) {
  if (context.memory) context.memory->keep(key, state);
}

Proposal search_proposal(const PruneContext& context, const UnitSearch& search, const UnitSet& out, const Json& params,
                         Json scores) {
  Proposal proposal;
  proposal.scores = scores_for(context);
  proposal.plan = plan_without(context, search, out);
  sign(proposal.plan, context, search.method, params);
  scores.update(savings(context, proposal.plan));
  proposal.plan.scores = std::move(scores);
  return proposal;
}

}  // namespace streamline
