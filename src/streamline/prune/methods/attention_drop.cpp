// SPDX-License-Identifier: Apache-2.0
// Attention Drop (He et al., "What Matters in Transformers? Not All Attention is Needed", arXiv 2406.15786).
#include "streamline/prune/half_choice.h"

namespace streamline::attention_drop_method {
namespace {

Proposal propose(PruneContext& context, const Json& params) {
  return drop_halves_by_cosine(context, params, "attention-drop", {.attention = true});
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "attention-drop",
    .title = "Attention Drop: the attention of layers that turns the hidden state least",
    .paper = "He et al., arXiv 2406.15786",
    .params = half_params(),
    .propose = propose,
    .halves = {.attention = true},
};

}  // namespace streamline::attention_drop_method
