// SPDX-License-Identifier: Apache-2.0
// Depth by spectra: drop the layers whose matrices have the lightest tails, which AlphaPruning (Lu et al., NeurIPS
// 2024, arXiv 2410.10912) reads as the least trained. The paper itself gives such layers more sparsity and removes
// none.
#include "streamline/prune/layer_choice.h"
#include "streamline/prune/proposal.h"
#include "streamline/prune/spectra.h"
#include "streamline/prune/unit_search.h"

namespace streamline::alpha_method {
namespace {

Proposal propose(PruneContext& context, const Json& params) {
  const CutRequest request = read_cut_request(context, params, "alpha");
  SpectraOptions options{.tail = parse_tail(params.at("tail").get<std::string>()), .seed = context.seed};
  options.progress = !context.sweep.label.empty();
  const Json exponents = made_once(context, "alpha", params, [&]() -> Json {
    return layer_exponents(spectra(context.model, options), context.model.layer_count());
  });
  LayerImportance importance{.name = "minus_alpha"};
  for (const Json& alpha : exponents) importance.values.push_back(-alpha.get<double>());
  Proposal proposal = drop_least_important(context, request, importance);
  if (context.scores) proposal.scores = *context.scores;
  proposal.warnings.emplace_back(
      "alpha ranks layers by their weights alone; its paper spreads sparsity by it and cuts no layers");
  sign(proposal.plan, context, "alpha", params);
  return proposal;
}

Params params() {
  Params params = cut_params();
  params.push_back({.name = "tail",
                    .type = ParamType::text,
                    .help =
                        "where the tail of a spectrum begins: near the peak of its density, there by the rule of the "
                        "released code, or at the median",
                    .default_value = "peak",
                    .choices = {"peak", "peak-released", "middle"}});
  return params;
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "alpha",
    .title = "AlphaPruning as a ranking of layers: those whose spectra have the lightest tails (experimental)",
    .paper = "Lu et al., NeurIPS 2024, arXiv 2410.10912",
    .params = params(),
    .propose = propose,
};

}  // namespace streamline::alpha_method
