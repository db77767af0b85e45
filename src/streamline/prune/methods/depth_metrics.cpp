// SPDX-License-Identifier: Apache-2.0
// The static metrics of A deeper look at depth pruning of LLMs (Siddiqui et al., arXiv 2407.16286): drop layers, or
// their halves, that change the residual stream least, one shot.
#include "streamline/prune/proposal.h"
#include "streamline/prune/rescoring.h"
#include "streamline/prune/unit_choice.h"

namespace streamline::depth_metrics_method {
namespace {

std::vector<ScoredUnit> scored_units(const Scores& scores, const Json& params) {
  const PartScore metric = part_score(params.at("metric").get<std::string>(), params.at("relative-to") == "in");
  const Units kind = units_of(params);
  std::vector<ScoredUnit> units;
  if (kind.layers()) {
    for (std::size_t layer = 0; layer < scores.layer_updates.size(); ++layer)
      units.push_back({{.layer = static_cast<std::int64_t>(layer)}, metric(scores.layer_updates[layer])});
    return units;
  }
  for (const ScoredHalf& half : scored_halves(scores, kind.halves, "depth-metrics", metric))
    units.push_back({{.layer = half.layer, .attention = half.attention, .mlp = !half.attention}, half.importance});
  return units;
}

Proposal propose(PruneContext& context, const Json& params) {
  check_sizes(context, params, "depth-metrics", scored_units(unmeasured_updates(context.model.config()), params));
  Scores scores = scores_for(context);
  Proposal proposal = drop_least_important_units(context, params, "depth-metrics",
                                                 params.at("metric").get<std::string>(), scored_units(scores, params));
  sign(proposal.plan, context, "depth-metrics", params);
  proposal.scores = std::move(scores);
  return proposal;
}

Params params() {
  Params params = unit_params();
  params.push_back({.name = "metric",
                    .type = ParamType::text,
                    .help = "of what a layer adds to the residual stream: cosine (1 - cosine of the states before and "
                            "after), its norm (l1, l2), or its norm over theirs (relative-l1, relative-l2)",
                    .default_value = "relative-l2",
                    .choices = {"cosine", "l1", "l2", "relative-l1", "relative-l2"}});
  params.push_back(relative_to_param("metric"));
  return params;
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "depth-metrics",
    .title = "A deeper look at depth pruning: layers or halves whose update is smallest, by cosine or norm",
    .paper = "Siddiqui et al., arXiv 2407.16286",
    .params = params(),
    .propose = propose,
};

}  // namespace streamline::depth_metrics_method
