// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/half_choice.h"

#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/plan/drop_halves.h"
#include "streamline/prune/cut_request.h"
#include "streamline/prune/cut_size.h"
#include "streamline/prune/proposal.h"

namespace streamline {
namespace {

// The plan without the first `count` of the halves.
Plan without(const PruneContext& context, const std::vector<ScoredHalf>& order, std::int64_t count) {
  std::vector<std::int64_t> attention, mlp;
  for (std::int64_t k = 0; k < count; ++k) {
    const ScoredHalf& half = order[static_cast<std::size_t>(k)];
    (half.attention ? attention : mlp).push_back(half.layer);
  }
  return drop_halves(context.model.layer_count(), attention, mlp);
}

// Without any half a model would have no layer.
std::int64_t most_halves(const PruneContext& context, const std::vector<ScoredHalf>& order) {
  return std::min(std::ssize(order), 2 * context.model.layer_count() - 1);
}

std::int64_t chosen_count(const PruneContext& context, const Json& params, std::string_view method, HalfKinds kinds,
                          const std::vector<ScoredHalf>& order) {
  const auto layers = optional_value<std::int64_t>(params, "layers");
  const auto halves = optional_value<std::int64_t>(params, "halves");
  const std::optional<double> sparsity = read_sparsity(params, method, {"layers", "halves", "sparsity"});
  const std::int64_t most = most_halves(context, order);
  if (sparsity) {
    const double all = static_cast<double>(context.model.parameters());
    return closest_cut(*sparsity, most,
                       [&](std::int64_t count) {
                         return static_cast<double>(parameters_saved(context, without(context, order, count))) / all;
                       })
        .count;
  }
  const std::int64_t each = kinds.attention && kinds.mlp ? 2 : 1;
  const std::int64_t count = halves ? *halves : *layers * each;
  if (most < 1) fail(ErrorKind::usage, "--protect leaves nothing that can be dropped; protect fewer layers");
  if (count < 1 || count > most)
    fail(ErrorKind::usage, "dropping ", count, " halves of layers: 1 to ", most, " can be dropped");
  return count;
}

Json summary(const PruneContext& context, const Plan& plan, const std::vector<ScoredHalf>& order, std::int64_t count) {
  Json json = savings(context, plan);
  for (const ScoredHalf& half : order)
    json["order"].push_back(
        {{"layer", half.layer}, {"half", half.attention ? "attention" : "mlp"}, {"importance", half.importance}});
  if (count < std::ssize(order))
    json["margin"] =
        order[static_cast<std::size_t>(count)].importance - order[static_cast<std::size_t>(count - 1)].importance;
  return json;
}

}  // namespace

HalfKinds half_kinds(const Method& method, const Json& params) {
  for (const char* name : {"units", "kind"}) {
    const auto param = std::ranges::find(method.params, name, &Param::name);
    if (param == method.params.end()) continue;
    const std::string what = params.value(name, param->default_value.get<std::string>());
    const bool both = what == "both" || what == "mixed";
    return {.attention = both || what == "attention", .mlp = both || what == "mlp"};
  }
  return method.halves;
}

Params half_params() {
  return {{.name = "layers",
           .type = ParamType::integer,
           .help = "as many halves as so many layers have of the kind",
           .minimum = 1},
          {.name = "halves", .type = ParamType::integer, .help = "halves of layers to drop", .minimum = 1},
          sparsity_param(),
          protect_param()};
}

std::vector<ScoredHalf> scored_halves(const Scores& scores, HalfKinds kinds, std::string_view method,
                                      const std::function<double(const UpdateStatistics&)>& importance) {
  std::vector<ScoredHalf> halves;
  const auto add = [&](const std::vector<std::optional<UpdateStatistics>>& updates, bool attention) {
    for (std::size_t layer = 0; layer < updates.size(); ++layer)
      if (updates[layer]) halves.push_back({static_cast<std::int64_t>(layer), attention, importance(*updates[layer])});
  };
  if (kinds.attention) add(scores.attention_updates, true);
  if (kinds.mlp) add(scores.mlp_updates, false);
  if (halves.empty())
    fail(ErrorKind::usage, method,
         " needs layers that have an attention and an MLP of which one can go alone; those of "
         "this model have not (--method shortgpt drops whole layers)");
  return halves;
}

Proposal drop_least_important_halves(const PruneContext& context, const Json& params, std::string_view method,
                                     HalfKinds kinds, const std::vector<ScoredHalf>& halves) {
  if (context.replacement.name != "none")
    fail(ErrorKind::usage, method,
         " drops halves of layers, in whose place nothing can be put: --replace none "
         "(--refit bias adds the mean of what they gave)");
  const auto protect = params.at("protect").get<std::vector<std::int64_t>>();
  check_protected(protect, context.model.layer_count());
  std::vector<ScoredHalf> order;
  for (const ScoredHalf& half : halves)
    if (!holds_any(protect, half.layer, 1)) order.push_back(half);
  std::stable_sort(order.begin(), order.end(),
                   [](const ScoredHalf& a, const ScoredHalf& b) { return a.importance < b.importance; });
  const std::int64_t count = chosen_count(context, params, method, kinds, order);
  Proposal proposal;
  proposal.plan = without(context, order, count);
  proposal.plan.scores = summary(context, proposal.plan, order, count);
  return proposal;
}

Proposal drop_halves_by_cosine(PruneContext& context, const Json& params, std::string_view method, HalfKinds kinds) {
  const auto choice = [&](const Scores& scores) {
    const auto turn = [](const UpdateStatistics& update) { return 1 - update.cosine; };
    return drop_least_important_halves(context, params, method, kinds, scored_halves(scores, kinds, method, turn));
  };
  choice(unmeasured_updates(context.model.config()));  // what cannot be had fails before a text is read
  Scores scores = scores_for(context);
  Proposal proposal = choice(scores);
  sign(proposal.plan, context, method, params);
  proposal.scores = std::move(scores);
  return proposal;
}

}  // namespace streamline
