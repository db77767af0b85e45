// SPDX-License-Identifier: Apache-2.0
// The layers that a plan leaves of a model, halves packed: an attention that lost its MLP and the next MLP that lost
// its attention make one layer, wherever that computes the same.
#pragma once

#include <vector>

#include "streamline/arch/config.h"
#include "streamline/plan/plan.h"

namespace streamline {

// In order. The residual stream of layers with sequential halves is a list of halves x + f(x); a boundary between
// layers means nothing there, so that an attention joins the MLP that follows it whatever layers the two come from.
// Parallel halves and layers of the extension stay apart. Layers of the source that have one half only are packed too,
// and those that have none go. Errors: those of lower(); mismatch where a layer has not the half that is dropped, and
// where nothing is left; unsupported where dropping one half would leave its norm (Residual::norm_after_sum).
std::vector<OutputLayer> output_layers(const Config& config, const Plan& plan);

// The configuration of an output layer that is not replaced.
LayerConfig layer_config(const Config& config, const OutputLayer& layer);

}  // namespace streamline
