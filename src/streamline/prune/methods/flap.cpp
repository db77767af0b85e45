// SPDX-License-Identifier: Apache-2.0
// FLAP (An et al., "Fluctuation-based Adaptive Structured Pruning", arXiv 2312.11983): heads and channels whose output
// hardly changes from token to token, so that a constant could stand for them.
#include "streamline/prune/read_scores.h"
#include "streamline/prune/width_choice.h"

namespace streamline::flap_method {
namespace {

Proposal propose(PruneContext& context, const Json& params) {
  const WidthRequest request = read_width_request(context, params, "flap");
  const UnitScores scores = remembered_scores(context, "flap", params, [&] {
    return fluctuation_scores(context.model, read_moments(context.model, context.calibration, context.sweep));
  });
  Proposal proposal = width_proposal(context, "flap", params, scores, request);
  if (!context.means_stay)
    proposal.warnings.emplace_back(
        "FLAP also puts the mean of what goes into a bias of the matrix that read it, which is no part of a plan: "
        "`prune --refit bias` does so");
  return proposal;
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "flap",
    .title = "FLAP: heads and channels by how much they fluctuate from token to token",
    .paper = "An et al., arXiv 2312.11983",
    .params = width_params("global"),
    .propose = propose,
    .keeps_state = true,
};

}  // namespace streamline::flap_method
