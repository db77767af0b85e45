// SPDX-License-Identifier: Apache-2.0
// MLP Drop (He et al., "What Matters in Transformers? Not All Attention is Needed", arXiv 2406.15786).
#include "streamline/prune/half_choice.h"

namespace streamline::mlp_drop_method {
namespace {

Proposal propose(PruneContext& context, const Json& params) {
  return drop_halves_by_cosine(context, params, "mlp-drop", {.mlp = true});
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "mlp-drop",
    .title = "MLP Drop: the MLP of layers that turns the hidden state least",
    .paper = "He et al., arXiv 2406.15786",
    .params = half_params(),
    .propose = propose,
    .halves = {.mlp = true},
};

}  // namespace streamline::mlp_drop_method
