// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/result.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "streamline/arch/decilm.h"
#include "streamline/arch/multimodal.h"
#include "streamline/arch/names.h"
#include "streamline/base/error.h"
#include "streamline/nn/tensor_bytes.h"
#include "streamline/plan/stack.h"
#include "streamline/surgery/fold.h"
#include "streamline/surgery/halves.h"
#include "streamline/surgery/widths.h"

namespace streamline {
namespace {

// A stored head that repeats the embedding: readers of a tied model take the embedding, and newer ones warn of it.
bool is_redundant_head(const Checkpoint& source, const Config& config, const TensorInfo& tensor) {
  if (!config.tied_embeddings || tensor.name != tensor_name(*config.family, -1, Role::head, Part::weight)) return false;
  const TensorInfo* embedding = source.find(tensor_name(*config.family, -1, Role::token_embedding, Part::weight));
  if (embedding == nullptr || embedding->dtype != tensor.dtype || embedding->shape != tensor.shape) return false;
  return std::memcmp(source.bytes(tensor).data(), source.bytes(*embedding).data(), tensor.size) == 0;
}

void add_outside(const Checkpoint& source, const Config& config, const StoredTensors& stored, Result& result) {
  std::int64_t carried = 0;
  for (const TensorInfo* tensor : stored.outside) {
    if (config.multimodal && is_carried(*config.family, tensor->name)) ++carried;
    if (is_redundant_head(source, config, *tensor)) {
      result.notes.push_back(tensor->name + " repeats the embedding and is left out (tied)");
    } else {
      result.tensors.push_back(copied(source, *tensor, tensor->name));
    }
  }
  if (carried > 0)
    result.notes.push_back(std::to_string(carried) +
                           " tensors of the parts beside the text model are carried over as they are");
}

std::vector<TensorSource> surviving_layer(const Model& model, const StoredTensors& stored, const OutputLayer& layer,
                                          std::int64_t index) {
  std::vector<TensorSource> tensors;
  for (const LayerTensor& tensor : stored.layers.at(layer.source))
    tensors.push_back(
        as_in_model(model, layer.source, tensor, layer_tensor(*model.config().family, index, tensor.suffix)));
  return tensors;
}

}  // namespace

StoredTensors stored_tensors(const Checkpoint& source, const Family& family) {
  StoredTensors stored;
  for (const TensorInfo& tensor : source.tensors()) {
    if (is_ignored(family, tensor.name) && !is_carried(family, tensor.name)) continue;
    if (auto place = parse_layer_tensor(family, tensor.name)) {
      stored.layers[place->layer].push_back({std::move(place->suffix), &tensor});
    } else {
      stored.outside.push_back(&tensor);
    }
  }
  return stored;
}

Result lay_out(const Model& model, const Plan& plan, const Replacements& replacements, LayerForm form) {
  const Checkpoint& source = model.checkpoint();
  const Family& family = *model.config().family;
  const StoredTensors stored = stored_tensors(source, family);
  SL_ASSERT(static_cast<std::int64_t>(stored.layers.size()) <= model.layer_count());  // some layers may be empty
  Result result;
  add_outside(source, model.config(), stored, result);
  const std::vector<OutputLayer> stack = output_layers(model.config(), plan);
  if (std::string note = packing_note(stack, form); !note.empty()) result.notes.push_back(std::move(note));
  const auto sequential = [](const LayerConfig& layer) { return layer.residual == Residual::sequential; };
  if (form == LayerForm::ordinary && !std::ranges::all_of(stack, &OutputLayer::whole) &&
      std::ranges::all_of(model.config().layers, sequential))
    result.notes.push_back(std::string("--format ") + (why_not_decilm(model.config()).empty() ? "decilm or " : "") +
                           "per-layer leaves out what stands beside a half without partner");
  for (std::string& note : width_notes(model.config(), stack, form)) result.notes.push_back(std::move(note));
  const bool sliced = !plan.slices.empty();
  for (std::size_t i = 0; i < stack.size(); ++i) {
    const auto index = static_cast<std::int64_t>(i);
    if (stack[i].replaced) {
      FoldedLayer folded = fold_layer(model.config(), replacements.at(stack[i].segment), stack[i].source, index, form);
      result.layers.push_back({.source = folded.source, .extension = folded.extension, .shape = folded.shape});
      if (!folded.note.empty()) result.notes.push_back(folded.note);
      std::move(folded.tensors.begin(), folded.tensors.end(), std::back_inserter(result.tensors));
    } else {
      LayerOrigin origin{.source = stack[i].source, .mlp = stack[i].mlp_source};
      const bool ordinary = is_ordinary(model.config().layers[static_cast<std::size_t>(stack[i].source)]);
      const LayerConfig shape = stored_shape_of(model.config(), stack, stack[i], form);
      const bool whole = form == LayerForm::ordinary && !sliced;
      if (ordinary && !whole) origin.shape = shape;
      const MissingHalf missing =
          origin.shape && form != LayerForm::ordinary ? MissingHalf::nothing : MissingHalf::zeros;
      std::vector<TensorSource> tensors = !ordinary || (whole && stack[i].untouched())
                                              ? surviving_layer(model, stored, stack[i], index)
                                              : half_tensors(model, stored, stack[i], index, shape, missing);
      result.layers.push_back(std::move(origin));
      std::move(tensors.begin(), tensors.end(), std::back_inserter(result.tensors));
    }
  }
  return result;
}

TensorSource as_in_model(const Model& model, std::int64_t layer, const LayerTensor& stored, std::string name) {
  const Family& family = *model.config().family;
  const TensorInfo& info = *stored.tensor;
  const auto role = layer_role(family, stored.suffix);
  const std::int64_t expert = layer_expert(family, stored.suffix);
  const bool is_weight = role && (stored.suffix.ends_with(".weight") || is_stack_role(*role));
  const bool changed = is_weight && model.changes(layer, *role, expert);
  if (!changed) return copied(model.checkpoint(), info, std::move(name));
  if (!info.is_plain())
    fail(ErrorKind::unsupported, model.checkpoint().path_of(info), ": '", info.name,
         "' is quantised; changed weights cannot be written into it");
  return {.header = {.name = std::move(name), .dtype = info.dtype, .shape = info.shape},
          .bytes = [model, layer, expert, role = *role] {
            auto value = model.stored_matrix(layer, role, expert);
            if (is_transposed(model.config(), layer, role, Part::weight)) value = value.t();
            auto owner = std::make_shared<const torch::Tensor>(value.contiguous());
            return Blob{bytes_of(*owner), owner};
          }};
}

TensorSource copied(const Checkpoint& source, const TensorInfo& tensor, std::string name) {
  return {.header = {.name = std::move(name), .dtype = tensor.dtype, .shape = tensor.shape},
          .bytes = [&source, &tensor] {
            return Blob{source.bytes(tensor), nullptr};
          }};
}

std::uint64_t data_bytes(const std::vector<TensorSource>& tensors) {
  std::uint64_t bytes = 0;
  for (const TensorSource& tensor : tensors) bytes += tensor.header.size();
  return bytes;
}

}  // namespace streamline
