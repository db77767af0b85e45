// SPDX-License-Identifier: Apache-2.0
// Leave one out: drop the layers or halves without which a text is told best, one shot. What "A deeper look at depth
// pruning of LLMs" (Siddiqui et al., arXiv 2407.16286) calls the Shapley value of loss or logits is, as released, this
// number up to a factor and a constant: its influence.
#include "streamline/prune/leave_one_out.h"
#include "streamline/base/stats.h"
#include "streamline/prune/proposal.h"
#include "streamline/prune/unit_search.h"

namespace streamline::leave_one_out_method {
namespace {

// Of each unit, over the sequences: the measure without it, and how much more that is than the whole model's.
struct Left {
  Estimate value, increase;
};

std::vector<Left> summarise(const LeaveOneOut& values) {
  std::vector<Left> result;
  for (const std::vector<double>& without : values.without) {
    MeanAccumulator value, increase;
    for (std::size_t i = 0; i < without.size(); ++i) {
      value.add(without[i]);
      increase.add(without[i] - values.whole[i]);
    }
    result.push_back({.value = value.estimate(), .increase = increase.estimate()});
  }
  return result;
}

Json estimates(const UnitStack& stack, const std::vector<Left>& left, const LeaveOneOut& values,
               const std::string& measure, const PartCounter& counter) {
  MeanAccumulator whole;
  for (const double value : values.whole) whole.add(value);
  std::vector<double> means;
  for (const Left& one : left) means.push_back(one.value.value);
  const std::vector<double> influence = influences(means);
  Json json = {{"measure", measure},
               {"whole", to_json(whole.estimate())},
               {"sequences", values.whole.size()},
               {"parts_executed", counter.parts},
               {"evaluations", counter.evaluations}};
  for (std::size_t i = 0; i < left.size(); ++i)
    json["units"].push_back({{"unit", name(stack.parts[stack.units[i]])},
                             {"without", left[i].value.value},
                             {"value", left[i].increase.value},
                             {"standard_error", to_json(left[i].increase)["standard_error"]},
                             {"influence", influence[i]}});
  return json;
}

// Reads the text.
Json measured(const PruneContext& context, const UnitStack& stack, const std::string& measure) {
  PartCounter counter;
  const LeaveOneOut values = leave_one_out(context.model, stack.parts, stack.units, context.calibration,
                                           {.measure = text_measure(measure),
                                            .batch_tokens = context.sweep.batch_tokens,
                                            .label = context.sweep.label.empty() ? "" : "leave one out"},
                                           counter);
  return estimates(stack, summarise(values), values, measure, counter);
}

Proposal propose(PruneContext& context, const Json& params) {
  const auto measure = params.at("measure").get<std::string>();
  const UnitStack stack = unit_stack(context.model, units_of(params), "leave-one-out");
  check_sizes(context, params, "leave-one-out", stack);
  const Json found = made_once(context, "leave-one-out", params, [&] { return measured(context, stack, measure); });
  std::vector<ScoredUnit> units;
  for (std::size_t i = 0; i < stack.units.size(); ++i)
    units.push_back({stack.parts[stack.units[i]], found.at("units")[i].at("without").get<double>()});
  Proposal proposal = drop_least_important_units(context, params, "leave-one-out", measure, units);
  sign(proposal.plan, context, "leave-one-out", params);
  proposal.plan.scores["estimates"] = found;
  proposal.scores = scores_for(context);
  return proposal;
}

Params params() {
  Params params = unit_params();
  params.push_back(measure_param("loss"));
  return params;
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "leave-one-out",
    .title = "A deeper look at depth pruning: layers or halves without which the loss is lowest, all in one shot",
    .paper = "Siddiqui et al., arXiv 2407.16286",
    .params = params(),
    .propose = propose,
};

}  // namespace streamline::leave_one_out_method
