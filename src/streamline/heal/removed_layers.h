// SPDX-License-Identifier: Apache-2.0
// Which layers of the original model a cut one lacks in front of one of its layers.
#pragma once

#include "streamline/engine/model.h"

namespace streamline {

// Layers first … first+count-1 of the original.
struct RemovedLayers {
  std::int64_t first = 0, count = 0;
};

// How many layers `cut` has behind the last place where layers were removed, by the streamline/plan.json that a pruned
// model carries. Errors: usage where it carries none, and where nothing was removed in front of a layer.
std::int64_t layers_behind_cut(const Model& cut);

// Those between layers at-1 and `at` of `cut`, 1 ≤ at < its layers: by its plan, or, where it carries none, as many as
// it lacks, if layer `at` is the one of the original that they stand before. Errors: mismatch for an original of other
// widths or weights, where no layers are missing in front of `at`, and where something was put in their place.
RemovedLayers removed_before(const Model& cut, const Model& original, std::int64_t at);

}  // namespace streamline
