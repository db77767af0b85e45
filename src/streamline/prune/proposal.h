// SPDX-License-Identifier: Apache-2.0
// What the proposals of all methods have in common.
#pragma once

#include "streamline/prune/method.h"

namespace streamline {

// Those of the context where it has any, else of a sweep.
Scores scores_for(const PruneContext& context);

// Says in the plan whose model it is for, and who decided from what.
void sign(Plan& plan, const PruneContext& context, std::string_view method, const Json& params);

// One sentence for each layer of the run in which massive activations are born.
std::vector<std::string> massive_activation_warnings(const Scores& scores, const LayerRun& run);

// "13..18"
std::string run_text(const LayerRun& run);

// Layers in order as runs.
std::vector<LayerRun> runs_of(const std::vector<std::int64_t>& layers);

}  // namespace streamline
