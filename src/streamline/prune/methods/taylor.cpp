// SPDX-License-Identifier: Apache-2.0
// Taylor: LLM-Pruner's first-order importance (Ma et al., arXiv 2305.11627), with exact gradients a layer at a time.
#include "streamline/prune/taylor_scores.h"
#include "streamline/prune/width_choice.h"

namespace streamline::taylor_method {
namespace {

Proposal propose(PruneContext& context, const Json& params) {
  const WidthRequest request = read_width_request(context, params, "taylor");
  const TaylorForm form = taylor_form(params.at("form").get<std::string>());
  const UnitScores scores = remembered_scores(context, "taylor", params, [&] {
    return taylor_scores(context.model, gradient_tokens(context.model, context.calibration, params), form);
  });
  return width_proposal(context, "taylor", params, scores, request);
}

Params params() {
  Params params = width_params();
  params.push_back({.name = "form",
                    .type = ParamType::text,
                    .help = "elements: the sum of |weight x gradient| over a group (param_first); group: the magnitude "
                            "of their sum (vectorize); gate: of the gradient of a factor on what the group gives",
                    .default_value = "elements",
                    .choices = {"elements", "group", "gate"}});
  for (Param& param : gradient_params()) params.push_back(std::move(param));
  return params;
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "taylor",
    .title = "LLM-Pruner: heads and channels by what the loss would change without them, to first order",
    .paper = "Ma et al., arXiv 2305.11627",
    .params = params(),
    .propose = propose,
    .keeps_state = true,
};

}  // namespace streamline::taylor_method
