// SPDX-License-Identifier: Apache-2.0
// The simple heuristic of The Unreasonable Ineffectiveness of the Deeper Layers (Gromov et al., ICLR 2025, arXiv
// 2403.17887): drop the deepest layers but the very last, whatever the text.
#include "streamline/base/error.h"
#include "streamline/prune/proposal.h"
#include "streamline/prune/window_choice.h"

namespace streamline::deepest_method {
namespace {

std::int64_t chosen_count(const PruneContext& context, const CutRequest& request) {
  if (const auto count = requested_count(request, context, 1)) {
    check_count(*count, context);
    return *count;
  }
  return closest_window_count(context, request.sparsity,
                              [&](std::int64_t count) { return std::optional(most_layers(context) - count); });
}

Proposal propose(PruneContext& context, const Json& params) {
  const CutRequest request = read_cut_request(context, params, "deepest");
  const std::int64_t count = chosen_count(context, request), start = most_layers(context) - count;
  if (holds_any(request.protect, start, count))
    fail(ErrorKind::usage, "the deepest ", count, " layers but the last, ", run_text({start, count}),
         ", hold a protected layer; --method angular looks for others");
  if (start < context.replacement.before)
    fail(ErrorKind::usage, "'", context.replacement.name, "' changes the layer before the window, and there is none");
  Proposal proposal;
  if (context.scores) proposal.scores = *context.scores;
  if (context.replacement.name == "none")
    proposal.warnings.emplace_back("the deepest layers are cut unseen; the paper finds that this needs healing");
  proposal.plan = cut_windows(context.model.layer_count(), {{start, count}}, context.replacement.name);
  sign(proposal.plan, context, "deepest", params);
  proposal.plan.scores = {{"start", start},
                          {"count", count},
                          {"parameters_saved", parameters_saved(context, {{start, count}})},
                          {"sparsity", sparsity_of(context, {{start, count}})}};
  return proposal;
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "deepest",
    .title = "The Unreasonable Ineffectiveness of the Deeper Layers, simple heuristic: the deepest layers but the last",
    .paper = "Gromov et al., ICLR 2025, arXiv 2403.17887",
    .params = cut_params(),
    .propose = propose,
};

}  // namespace streamline::deepest_method
