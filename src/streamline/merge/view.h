// SPDX-License-Identifier: Apache-2.0
// A merge seen as a model, without writing it.
#pragma once

#include "streamline/engine/model.h"
#include "streamline/merge/merge_plan.h"

namespace streamline::merge {

// Matrices and norms of the layers are merged when they are computed with; embeddings, head, biases and experts are
// merged here and kept in memory. `plan` is copied. Errors: those of merged_bytes() and Model::open().
Model view(const MergePlan& plan, Placement placement);

}  // namespace streamline::merge
