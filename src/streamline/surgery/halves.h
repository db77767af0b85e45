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

// What becomes of halves that went: matrices of zeros and norms that scale by one, in the types of what was there; or
// nothing.
enum class MissingHalf { zeros, nothing };

// The tensors of `layer` as layer `index` of the result, in the widths of `shape` (its missing halves aside). What
// stays of a half is copied byte for byte, and padded with zeros where `shape` is wider. Refers to the model's
// checkpoint and to `stored`. Errors: unsupported where a matrix that is cut, padded or made zero is stored in a
// quantised form, and where the model changes one that is made zero.
std::vector<TensorSource> half_tensors(const Model& model, const StoredTensors& stored, const OutputLayer& layer,
                                       std::int64_t index, const LayerConfig& shape, MissingHalf missing);

// "30 layers and 4 halves become …" for people; empty where every layer is whole and of one source.
std::string packing_note(std::span<const OutputLayer> layers, LayerForm form);

}  // namespace streamline
