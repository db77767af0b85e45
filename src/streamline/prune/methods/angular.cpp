// SPDX-License-Identifier: Apache-2.0
// The Unreasonable Ineffectiveness of the Deeper Layers (Gromov et al., ICLR 2025, arXiv 2403.17887): cut the run of
// layers across which the last token's hidden state turns by the smallest angle.
#include "streamline/base/error.h"
#include "streamline/prune/proposal.h"
#include "streamline/prune/window_choice.h"

namespace streamline::angular_method {
namespace {

Likeness likeness_of(const Scores& scores, bool all_tokens) {
  const std::vector<double>& angular = all_tokens ? scores.angular_all : scores.angular_last;
  return [&angular, states = scores.layers + 1](std::int64_t start, std::int64_t count) {
    return -angular[static_cast<std::size_t>(start * states + start + count)];
  };
}

std::int64_t chosen_count(const PruneContext& context, const CutRequest& request, const Likeness& likeness,
                          const CutRule& rule) {
  if (const auto count = requested_count(request, context, 1)) return *count;
  return closest_window_count(context, request.sparsity,
                              [&](std::int64_t count) { return best_start(likeness, rule, count); });
}

Json summary(const PruneContext& context, const Scores& scores, const Likeness& likeness, const Json& positions,
             const std::vector<std::int64_t>& starts, std::int64_t count) {
  const std::int64_t start = starts.front();
  Json json = {{"start", start},
               {"count", count},
               {"angular", positions},
               {"angular_distance", -likeness(start, count)},
               {"cosine", scores.window_cosine(start, count)},
               {"parameters_saved", parameters_saved(context, {{start, count}})},
               {"sparsity", sparsity_of(context, {{start, count}})}};
  if (starts.size() > 1) {
    json["margin"] = likeness(start, count) - likeness(starts[1], count);
    json["best_other_start"] = starts[1];
  }
  return json;
}

Proposal propose(PruneContext& context, const Json& params) {
  const CutRequest request = read_cut_request(context, params, "angular");
  if (const auto count = requested_count(request, context, 1)) check_count(*count, context);
  CutRule rule{context.model.layer_count(), context.replacement.before, request.protect};
  if (params.at("keep-last").get<bool>()) rule.protect.push_back(rule.layers - 1);
  Proposal proposal;
  proposal.scores = scores_for(context);
  const Scores& scores = proposal.scores;
  const Likeness likeness = likeness_of(scores, params.at("positions") == "all");
  const std::int64_t count = chosen_count(context, request, likeness, rule);
  const std::vector<std::int64_t> starts = ranked_starts(likeness, rule, count);
  if (starts.empty()) fail(ErrorKind::usage, "every window of ", count, " layers holds a layer that must stay");
  for (const std::int64_t start : starts)
    proposal.windows.push_back({start, count, scores.window_cosine(start, count)});
  proposal.warnings = massive_activation_warnings(scores, {starts.front(), count});
  proposal.plan = cut_windows(rule.layers, {{starts.front(), count}}, context.replacement.name);
  sign(proposal.plan, context, "angular", params);
  proposal.plan.scores = summary(context, scores, likeness, params.at("positions"), starts, count);
  return proposal;
}

Params params() {
  Params params = cut_params();
  params.push_back({.name = "positions",
                    .type = ParamType::text,
                    .help = "whose hidden states are compared: last, each sequence's last token, as the paper has it; "
                            "all, every token",
                    .default_value = "last",
                    .choices = {"last", "all"}});
  params.push_back({.name = "keep-last",
                    .type = ParamType::boolean,
                    .help = "never cut the last layer, as the paper advises",
                    .default_value = false});
  return params;
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "angular",
    .title = "The Unreasonable Ineffectiveness of the Deeper Layers: the run of layers of smallest angular distance",
    .paper = "Gromov et al., ICLR 2025, arXiv 2403.17887",
    .params = params(),
    .propose = propose,
};

}  // namespace streamline::angular_method
