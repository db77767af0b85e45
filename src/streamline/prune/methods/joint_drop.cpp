// SPDX-License-Identifier: Apache-2.0
// Joint Layer Drop (He et al., "What Matters in Transformers? Not All Attention is Needed", arXiv 2406.15786).
#include "streamline/prune/half_choice.h"

namespace streamline::joint_drop_method {
namespace {

Proposal propose(PruneContext& context, const Json& params) {
  return drop_halves_by_cosine(context, params, "joint-drop", {.attention = true, .mlp = true});
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "joint-drop",
    .title = "Joint Layer Drop: attention and MLP of layers on one scale, those that turn the hidden state least",
    .paper = "He et al., arXiv 2406.15786",
    .params = half_params(),
    .propose = propose,
    .halves = {.attention = true, .mlp = true},
};

}  // namespace streamline::joint_drop_method
