// SPDX-License-Identifier: Apache-2.0
// Random-structured: heads and channels drawn by the seed, what every criterion must beat.
#include "streamline/base/random.h"
#include "streamline/prune/shared_scores.h"
#include "streamline/prune/width_choice.h"

namespace streamline::random_structured_method {
namespace {

UnitScores drawn_scores(const PruneContext& context) {
  Rng rng(context.seed);
  UnitScores scores = no_scores(context.model.config());
  for (InsideScores& layer : scores) {
    for (double& head : layer.heads) head = rng.uniform();
    for (auto& network : layer.channels)
      for (double& channel : network) channel = rng.uniform();
  }
  return scores;
}

Proposal propose(PruneContext& context, const Json& params) {
  const WidthRequest request = read_width_request(context, params, "random-structured");
  return width_proposal(context, "random-structured", params, drawn_scores(context), request);
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "random-structured",
    .title = "heads and channels at random, by the seed",
    .paper = "the baseline of Ma et al., arXiv 2305.11627",
    .params = width_params(),
    .propose = propose,
};

}  // namespace streamline::random_structured_method
