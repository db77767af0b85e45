// SPDX-License-Identifier: Apache-2.0
// Magnitude-structured: heads and channels whose weights are smallest go, no text looked at.
#include "streamline/prune/shared_scores.h"
#include "streamline/prune/width_choice.h"

namespace streamline::magnitude_structured_method {
namespace {

UnitScores weight_sums(const Model& model) {
  const torch::NoGradGuard no_grad;
  return scores_by_layer(model, [&](std::int64_t layer) {
    const LayerWeights weights = model.layer(layer, Model::Use::once);
    GroupedValues sums(weights.config);
    for (const PlacedTensor& tensor : placed_tensors(weights))
      if (tensor.part == Part::weight) sums.add(tensor.role, tensor.part, tensor.expert, tensor.value.abs());
    return sums.scores(GroupSum::magnitudes);
  });
}

Proposal propose(PruneContext& context, const Json& params) {
  const WidthRequest request = read_width_request(context, params, "magnitude-structured");
  const UnitScores scores =
      remembered_scores(context, "magnitude-structured", params, [&] { return weight_sums(context.model); });
  return width_proposal(context, "magnitude-structured", params, scores, request);
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "magnitude-structured",
    .title = "heads and channels with the smallest weights, summed over all that belongs to them",
    .paper = "the baseline of Ma et al., arXiv 2305.11627",
    .params = width_params(),
    .propose = propose,
    .keeps_state = true,
};

}  // namespace streamline::magnitude_structured_method
