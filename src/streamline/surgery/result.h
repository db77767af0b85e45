// SPDX-License-Identifier: Apache-2.0
// What a result consists of: each tensor with the name that it gets, and where each layer comes from.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "streamline/arch/config_write.h"
#include "streamline/engine/model.h"
#include "streamline/io/checkpoint_writer.h"

namespace streamline {

// A tensor of a layer: what follows the layer's number in its name ("mlp.up_proj.weight"), and where it is stored.
struct LayerTensor {
  std::string suffix;
  const TensorInfo* tensor = nullptr;
};

// The tensors of a checkpoint by the decoder layer that they belong to, without buffers that a family ignores.
struct StoredTensors {
  std::vector<const TensorInfo*> outside = {};  // of no layer
  std::map<std::int64_t, std::vector<LayerTensor>> layers = {};
};
StoredTensors stored_tensors(const Checkpoint& source, const Family& family);

struct Result {
  std::vector<TensorSource> tensors = {};
  std::vector<LayerOrigin> layers = {};
  std::vector<std::string> notes = {};
};

// Tensors outside the layers, then the layers in order: survivors as they are stored, replacements folded (fold.h). A
// head that repeats the embedding of a tied model is left out and noted. `model` is a whole one, no view; the result
// refers to its checkpoint. Errors: those of fold_layer() and half_tensors().
Result lay_out(const Model& model, const Plan& plan, const Replacements& replacements, LayerForm form);

// The bytes of a stored tensor under another name. `source` and `tensor` must outlive it.
TensorSource copied(const Checkpoint& source, const TensorInfo& tensor, std::string name);

// A tensor of a layer as the model has it: those bytes, or a matrix that it changes, computed when it is written, in
// the type and layout in which it was stored. Errors: unsupported for a changed matrix in a quantised form.
TensorSource as_in_model(const Model& model, std::int64_t layer, const LayerTensor& stored, std::string name);

std::uint64_t data_bytes(const std::vector<TensorSource>& tensors);

}  // namespace streamline
