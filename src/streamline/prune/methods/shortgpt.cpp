// SPDX-License-Identifier: Apache-2.0
// ShortGPT (Men et al., "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect", arXiv
// 2403.03853): drop the layers that turn the hidden state least, one by one, wherever they lie.
#include "streamline/base/error.h"
#include "streamline/prune/layer_choice.h"
#include "streamline/prune/proposal.h"

namespace streamline::shortgpt_method {
namespace {

LayerImportance block_influence(const Scores& scores, bool normed_last) {
  LayerImportance importance{.name = "block influence"};
  for (std::int64_t layer = 0; layer < scores.layers; ++layer)
    importance.values.push_back(scores.block_influence(layer));
  if (!normed_last) return importance;
  if (!scores.normed_last_cosine)
    fail(ErrorKind::usage, "--last-state normed: the scores at hand do not know the state after the final norm");
  importance.values.back() = 1 - *scores.normed_last_cosine;
  return importance;
}

Proposal propose(PruneContext& context, const Json& params) {
  const CutRequest request = read_cut_request(context, params, "shortgpt");
  if (request.cut) check_count(*request.cut, context);
  Scores scores = scores_for(context);
  Proposal proposal =
      drop_least_important(context, request, block_influence(scores, params.at("last-state") == "normed"));
  for (const Segment& segment : proposal.plan.segments) {
    if (segment.action == Action::keep) continue;
    for (std::string& line : massive_activation_warnings(scores, {segment.first, segment.count()}))
      proposal.warnings.push_back(std::move(line));
  }
  sign(proposal.plan, context, "shortgpt", params);
  proposal.scores = std::move(scores);
  return proposal;
}

Params params() {
  Params params = cut_params();
  params.push_back({.name = "last-state",
                    .type = ParamType::text,
                    .help = "what the last layer's output is compared as: hidden, before the final norm, as the paper "
                            "has it; normed, after it, as the released code does",
                    .default_value = "hidden",
                    .choices = {"hidden", "normed"}});
  return params;
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "shortgpt",
    .title = "ShortGPT: the layers of lowest block influence",
    .paper = "Men et al., ACL Findings 2025, arXiv 2403.03853",
    .params = params(),
    .propose = propose,
};

}  // namespace streamline::shortgpt_method
