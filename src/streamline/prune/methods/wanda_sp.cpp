// SPDX-License-Identifier: Apache-2.0
// Wanda-sp: Wanda's weight times activation (Sun et al., arXiv 2306.11695) of whole heads and channels.
#include "streamline/prune/read_scores.h"
#include "streamline/prune/width_choice.h"

namespace streamline::wanda_sp_method {
namespace {

Proposal propose(PruneContext& context, const Json& params) {
  const WidthRequest request = read_width_request(context, params, "wanda-sp");
  const UnitScores scores = remembered_scores(context, "wanda-sp", params, [&] {
    return wanda_scores(context.model, read_moments(context.model, context.calibration, context.sweep));
  });
  return width_proposal(context, "wanda-sp", params, scores, request);
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "wanda-sp",
    .title = "heads and channels by weight times activation of the matrix that reads them",
    .paper = "Sun et al., arXiv 2306.11695; structured by An et al., arXiv 2312.11983",
    .params = width_params(),
    .propose = propose,
    .keeps_state = true,
};

}  // namespace streamline::wanda_sp_method
