// SPDX-License-Identifier: Apache-2.0
// The masks of a plan as what they make of a model: weights that do not stay become zero, one matrix at a time when it
// is asked for.
#pragma once

#include <memory>

#include "streamline/engine/model.h"

namespace streamline {

// For Model::changed() of `source`, which has all layers of its checkpoint. Masks are of matrices of decoder layers, of
// the sizes and the order in which the checkpoint has them. Errors, each naming the tensor: mismatch for one that the
// source has not, that is of another layer or of another shape; unsupported for one that is no matrix of a layer, or is
// stored in a quantised form; unsupported for GGUF files.
std::shared_ptr<const WeightChange> masking(const Model& source, std::shared_ptr<const MasksFile> masks);

}  // namespace streamline
