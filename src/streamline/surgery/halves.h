// SPDX-License-Identifier: Apache-2.0
// Halves of layers: an attention and an MLP of different layers together, and a half without partner alone, or beside
// one that adds nothing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "streamline/plan/plan.h"
#include "streamline/surgery/result.h"

namespace streamline {

// The tensors of `layer` as layer `index` of the result. A half that stays is copied byte for byte; in the place of one
// that went stand matrices of zeros and norms that scale by one, in the types and shapes of what it was. Refers to
// `source` and `stored`. Errors: unsupported where such a matrix is stored in a quantised form.
std::vector<TensorSource> half_tensors(const Checkpoint& source, const Config& config, const StoredTensors& stored,
                                       const OutputLayer& layer, std::int64_t index);

// The same in forms that leave out what went: the tensors of the halves that stay, an MLP padded with zeros to the
// width that `shape` has.
std::vector<TensorSource> half_tensors(const Checkpoint& source, const Config& config, const StoredTensors& stored,
                                       const OutputLayer& layer, std::int64_t index, const LayerConfig& shape);

// "30 layers and 4 halves become …" for people; empty where every layer is whole and of one source.
std::string packing_note(std::span<const OutputLayer> layers, LayerForm form);

}  // namespace streamline
