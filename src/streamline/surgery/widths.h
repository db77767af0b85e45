// SPDX-License-Identifier: Apache-2.0
// In which widths the layers of a result are written: those of a plan that slices, or what a form makes of them.
#pragma once

#include <string>
#include <vector>

#include "streamline/arch/config_write.h"
#include "streamline/engine/model.h"
#include "streamline/plan/plan.h"

namespace streamline {

// The shape in which an output layer that is not replaced is stored. LayerForm::ordinary: all layers as wide as the
// widest one, since config.json says one width for all, and heads as in the source where the family has no key for the
// size of a head. LayerForm::decilm: heads as in the source, MLPs by layer. LayerForm::per_layer: as the plan says.
LayerConfig stored_shape_of(const Config& config, const std::vector<OutputLayer>& stack, const OutputLayer& layer,
                            LayerForm form);

// What the result of a plan takes in parameters, bytes, caches and time: `source` through the plan with as many units
// kept in each layer as are written of it in that form, and with whole layers where a half without partner stands
// beside zeros. Not for what it computes, since units and halves that went compute again. Errors: those of Model::view.
Model written_view(const Model& source, const Plan& plan, const Replacements& replacements, LayerForm form);

// What the slices took, what of it padding gives back, and what would not; for people. Empty for plans without slices.
std::vector<std::string> width_notes(const Config& config, const std::vector<OutputLayer>& stack, LayerForm form);

}  // namespace streamline
