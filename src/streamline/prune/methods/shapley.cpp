// SPDX-License-Identifier: Apache-2.0
// Shapley values: drop the layers or halves whose presence is worth least, averaged over what else is missing. The
// adaptive metrics of "A deeper look at depth pruning of LLMs" (Siddiqui et al., arXiv 2407.16286), with a game's own
// average over sizes, and as the released code's subsets of one size.
#include "streamline/base/error.h"
#include "streamline/prune/cut_request.h"
#include "streamline/prune/part_games.h"
#include "streamline/prune/proposal.h"
#include "streamline/prune/unit_search.h"

namespace streamline::shapley_method {
namespace {

UnitGame game_of(const PruneContext& context, const UnitStack& stack, const std::string& measure,
                 PartCounter& counter) {
  if (measure != "accuracy")
    return text_game(context.model, stack, text_measure(measure), context.calibration, counter);
  if (context.questions.count == 0)
    fail(ErrorKind::usage, "shapley: --game accuracy needs --tasks, and --data-dir for their questions");
  return question_game(context.model, stack, context.questions);
}

ShapleyValues play(const UnitGame& game, const PruneContext& context, const Json& params) {
  const bool subsets = params.at("estimator") == "subsets";
  const ShapleyOptions options{.repetitions = params.at(subsets ? "subsets" : "permutations").get<std::int64_t>(),
                               .evaluations = optional_value<std::int64_t>(params, "evaluations").value_or(0),
                               .seed = context.seed,
                               .label = context.sweep.label.empty() ? "" : "shapley"};
  return subsets ? subset_values(game, params.at("share").get<double>(), options) : shapley_values(game, options);
}

Json estimates(const UnitStack& stack, const UnitGame& game, const ShapleyValues& found, const Json& params,
               const PartCounter& counter) {
  Json json = {
      {"measure", params.at("game")}, {"estimator", params.at("estimator")}, {"items", game.items},
      {"runs", found.runs},           {"evaluations", found.evaluations},    {"parts_executed", counter.parts}};
  if (params.at("estimator") == "permutations") {
    json["whole"] = found.whole;
    json["none"] = found.none;
  }
  for (std::size_t i = 0; i < stack.units.size(); ++i) {
    Json unit = {{"unit", name(stack.parts[stack.units[i]])}};
    unit.update(to_json(found.values[i]));
    json["units"].push_back(std::move(unit));
  }
  return json;
}

// Plays the game.
Json played(const PruneContext& context, const UnitStack& stack, const Json& params) {
  PartCounter own, counter;  // of this rank, of all
  const UnitGame game = game_of(context, stack, params.at("game").get<std::string>(), own);
  const ShapleyValues found = play(game, context, params);
  add_counts(context.model.placement().ranks, own, counter);
  return estimates(stack, game, found, params, counter);
}

Proposal propose(PruneContext& context, const Json& params) {
  const UnitStack stack = unit_stack(context.model, units_of(params), "shapley");
  check_sizes(context, params, "shapley", stack);
  const auto measure = params.at("game").get<std::string>();
  const Json found = made_once(context, "shapley", params, [&] { return played(context, stack, params); });
  std::vector<ScoredUnit> units;
  for (std::size_t i = 0; i < stack.units.size(); ++i)
    units.push_back({stack.parts[stack.units[i]], found.at("units")[i].at("value").get<double>()});
  Proposal proposal = drop_least_important_units(context, params, "shapley", "shapley value of " + measure, units);
  sign(proposal.plan, context, "shapley", params);
  proposal.plan.scores["estimates"] = found;
  proposal.scores = scores_for(context);
  return proposal;
}

Params params() {
  Params params = unit_params();
  params.push_back({.name = "game",
                    .type = ParamType::text,
                    .help =
                        "what is shared out: loss (of the next token), logits (distance from the whole model's), kl "
                        "(divergence from it), or accuracy (of --tasks)",
                    .default_value = "loss",
                    .choices = {"loss", "logits", "kl", "accuracy"}});
  params.push_back({.name = "estimator",
                    .type = ParamType::text,
                    .help =
                        "permutations: all sizes of what is left, as the Shapley value has it; subsets: random ones "
                        "of one size, as the released code",
                    .default_value = "permutations",
                    .choices = {"permutations", "subsets"}});
  params.push_back({.name = "permutations",
                    .type = ParamType::integer,
                    .help = "random orders of leaving all out, of every sequence (or group of questions)",
                    .default_value = 1,
                    .minimum = 1,
                    .goes_with = {{"estimator", {"permutations"}}}});
  params.push_back({.name = "evaluations",
                    .type = ParamType::integer,
                    .help = "most readings of a sequence; a permutation takes one a unit and one more",
                    .minimum = 1});
  params.push_back({.name = "subsets",
                    .type = ParamType::integer,
                    .help = "random subsets of every sequence, for --estimator subsets",
                    .default_value = 10,
                    .minimum = 1,
                    .goes_with = {{"estimator", {"subsets"}}}});
  params.push_back({.name = "share",
                    .type = ParamType::number,
                    .help = "of the units that a subset keeps; the released code takes 0.9 for accuracy",
                    .default_value = 0.5,
                    .minimum = 0,
                    .maximum = 1,
                    .goes_with = {{"estimator", {"subsets"}}}});
  return params;
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "shapley",
    .title = "Shapley values: layers or halves whose presence is worth least, whatever else is missing",
    .paper = "Siddiqui et al., arXiv 2407.16286",
    .params = params(),
    .propose = propose,
};

}  // namespace streamline::shapley_method
