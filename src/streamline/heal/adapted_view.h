// SPDX-License-Identifier: Apache-2.0
// Adapters that were trained on a view of a model, merged into what the view is made of.
#pragma once

#include "streamline/engine/model.h"
#include "streamline/heal/adapters.h"

namespace streamline {

// source.view(plan, replacements) with the adapters of its layers merged: those of layers of the source into these,
// those of replaced segments into the replacements.
Model adapted_view(const Model& source, const Plan& plan, Replacements replacements, Adapters adapters);

}  // namespace streamline
