// SPDX-License-Identifier: Apache-2.0
// The static metrics of A deeper look at depth pruning of LLMs (Siddiqui et al., arXiv 2407.16286): drop layers, or
// their halves, that change the residual stream least, one shot.
#include "streamline/base/error.h"
#include "streamline/prune/half_choice.h"
#include "streamline/prune/layer_choice.h"
#include "streamline/prune/proposal.h"

namespace streamline {
namespace {

using Metric = std::function<double(const UpdateStatistics&)>;

Metric metric_of(const Json& params) {
  const auto name = params.at("metric").get<std::string>();
  const bool in = params.at("relative-to") == "in";
  if (name == "cosine") return [](const UpdateStatistics& update) { return 1 - update.cosine; };
  if (name == "l1") return [](const UpdateStatistics& update) { return update.l1; };
  if (name == "l2") return [](const UpdateStatistics& update) { return update.l2; };
  if (name == "relative-l1")
    return [in](const UpdateStatistics& update) { return in ? update.relative_l1_in : update.relative_l1_out; };
  return [in](const UpdateStatistics& update) { return in ? update.relative_l2_in : update.relative_l2_out; };
}

Proposal propose_layers(const PruneContext& context, const Json& params, const Scores& scores) {
  if (!params.at("halves").is_null())
    fail(ErrorKind::usage, "--halves counts halves of layers; with --units layers give --layers");
  const CutRequest request = read_cut_request(context, params, "depth-metrics");
  LayerImportance importance{.name = params.at("metric").get<std::string>()};
  for (const UpdateStatistics& update : scores.layer_updates) importance.values.push_back(metric_of(params)(update));
  return drop_least_important(context, request, importance);
}

Proposal propose_halves(const PruneContext& context, const Json& params, const Scores& scores) {
  if (!params.at("cut").is_null())
    fail(ErrorKind::usage, "--cut counts whole layers; with --units ", params.at("units").get<std::string>(),
         " give --layers or --halves");
  const bool both = params.at("units") == "both";
  const HalfKinds kinds{.attention = both || params.at("units") == "attention",
                        .mlp = both || params.at("units") == "mlp"};
  return drop_least_important_halves(context, params, "depth-metrics", kinds,
                                     scored_halves(scores, kinds, "depth-metrics", metric_of(params)));
}

Proposal propose(PruneContext& context, const Json& params) {
  Scores scores = scores_for(context);
  const bool layers = params.at("units") == "layers";
  Proposal proposal = layers ? propose_layers(context, params, scores) : propose_halves(context, params, scores);
  sign(proposal.plan, context, "depth-metrics", params);
  proposal.scores = std::move(scores);
  return proposal;
}

Params params() {
  Params params = cut_params();
  params.push_back({.name = "halves", .type = ParamType::integer, .help = "halves of layers to drop", .minimum = 1});
  params.push_back({.name = "metric",
                    .type = ParamType::text,
                    .help = "of what a layer adds to the residual stream: cosine (1 - cosine of the states before and "
                            "after), its norm (l1, l2), or its norm over theirs (relative-l1, relative-l2)",
                    .default_value = "relative-l2",
                    .choices = {"cosine", "l1", "l2", "relative-l1", "relative-l2"}});
  params.push_back({.name = "relative-to",
                    .type = ParamType::text,
                    .help = "the norm that the relative metrics divide by: of the state after (out) or before (in)",
                    .default_value = "out",
                    .choices = {"out", "in"}});
  params.push_back({.name = "units",
                    .type = ParamType::text,
                    .help = "what is dropped: layers, attention, mlp, or both halves on one scale",
                    .default_value = "layers",
                    .choices = {"layers", "attention", "mlp", "both"}});
  return params;
}

}  // namespace

extern const Method depth_metrics_method;
const Method depth_metrics_method = {
    .name = "depth-metrics",
    .title = "A deeper look at depth pruning: layers or halves whose update is smallest, by cosine or norm",
    .paper = "Siddiqui et al., arXiv 2407.16286",
    .params = params(),
    .propose = propose,
};

}  // namespace streamline
