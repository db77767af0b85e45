// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/proposal.h"

#include <sstream>

namespace streamline {

Scores scores_for(const PruneContext& context) {
  return context.scores && context.scores->layers > 0 ? *context.scores
                                                      : score_layers(context.model, context.calibration, context.sweep);
}

void sign(Plan& plan, const PruneContext& context, std::string_view method, const Json& params) {
  plan.base.model = context.model.checkpoint().label();
  plan.base.digest = context.model.checkpoint().digest();
  plan.method = {.name = std::string(method),
                 .parameters = params,
                 .calibration_digest = context.scores ? context.scores->calibration_digest : context.calibration.digest,
                 .seed = context.seed};
}

std::vector<std::string> massive_activation_warnings(const Scores& scores, const LayerRun& run) {
  std::vector<std::string> lines;
  for (const std::int64_t layer : massive_activation_layers(scores)) {
    if (layer < run.first || layer >= run.first + run.count) continue;
    const auto at = static_cast<std::size_t>(layer);
    std::ostringstream line;
    line.precision(3);
    line << "the window " << run_text(run) << " takes layer " << layer
         << ", where massive activations are born (largest token norm over the median: "
         << scores.states[at].largest_over_median << " before it, " << scores.states[at + 1].largest_over_median
         << " after); cutting it tends to ruin a model whatever the cosine says: compare --protect " << layer;
    lines.push_back(line.str());
  }
  return lines;
}

std::string run_text(const LayerRun& run) {
  return std::to_string(run.first) + ".." + std::to_string(run.first + run.count - 1);
}

std::vector<LayerRun> runs_of(const std::vector<std::int64_t>& layers) {
  std::vector<LayerRun> runs;
  for (const std::int64_t layer : layers) {
    if (!runs.empty() && runs.back().first + runs.back().count == layer) {
      ++runs.back().count;
    } else {
      runs.push_back({layer, 1});
    }
  }
  return runs;
}

}  // namespace streamline
