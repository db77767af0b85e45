// SPDX-License-Identifier: Apache-2.0
// A merge before it is computed: which tensors of which models make each tensor of the result.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "streamline/arch/layer_stack.h"
#include "streamline/io/checkpoint.h"
#include "streamline/merge/lines.h"
#include "streamline/merge/tensor_merge.h"

namespace streamline::merge {

// What an adapter adds to a tensor of its model; empty where it adds nothing.
using Update = std::function<void(std::int64_t first, std::int64_t count, std::span<float> rows)>;

// A model that takes part.
struct Source {
  std::string name;  // as it was given, for messages and records
  std::shared_ptr<const Checkpoint> checkpoint;
  LayerStack stack = {};
  // What an adapter beside the checkpoint adds to a tensor; empty: there is none.
  std::function<Update(const std::string& tensor)> adapter = {};
};
Source make_source(std::string name, std::shared_ptr<const Checkpoint> checkpoint);

// Layers first, first + 1 … of a model of the request.
struct SliceSource {
  std::size_t model = 0;
  std::int64_t first = 0;
};

// Layers of the result: as many of each of these.
struct Slice {
  std::int64_t count = 0;
  std::vector<SliceSource> operands = {};
  std::optional<SliceSource> base = {};
};

// A tensor for which parameters are asked.
struct Place {
  std::size_t slice = 0;
  double t = 0;                            // from 0 at the slice's first layer to 1 at its last; 0 outside the layers
  std::string name = {};                   // of the result's tensor
  std::vector<std::string> operands = {};  // the tensor's names in the operands
};

struct Request {
  const Rule* rule = nullptr;
  std::vector<Source> models = {};
  std::vector<Slice> slices = {};
  std::size_t reference = 0;  // the model that gives names, types and config.json
  std::function<Parameters(const Place&)> parameters = {};
  std::optional<DType> dtype = {};  // of floating-point tensors; else those of the reference
  std::uint64_t seed = 0;           // of Keep::random
  // Embeddings and heads may have different numbers of rows: the result has the most. A model without a row changes
  // nothing of it; a row that the base lacks starts as the mean of those who have it.
  bool union_vocabulary = false;
};

struct MergePlan {
  Request request;
  std::vector<TensorMerge> tensors = {};  // outside the layers, then layer by layer
  LayerMap map = {};                      // of the result, to layers of the reference
  std::vector<std::string> notes = {};
  std::optional<std::int64_t> vocabulary = {};  // rows of the result's embedding, where not all have as many
  std::string widest = {};                      // the model that has as many
};

// Every model of the request with the same layers from first to last, whole.
std::vector<Slice> whole_models(const std::vector<Source>& models, const std::vector<std::size_t>& operands,
                                std::optional<std::size_t> base);

// The config.json of the result: the reference's, with its layers, type and vocabulary. Errors: those of
// renumbered_config().
Json result_config(const MergePlan& plan, const Json& provenance, std::vector<std::string>& notes);

// Errors: mismatch for tensors that one model has and another lacks, or has in another shape, each by name; unsupported
// for quantised weights of the reference; usage for parameters that make no sense.
MergePlan plan_merge(Request request);

// Scales the merged task vector of each tensor by its depth. Errors: usage without a base.
void scale_by_depth(MergePlan& plan, const Lines& lines);

// Takes the thresholds of Keep::largest over whole task vectors instead of single tensors. Of plans with one slice.
void take_model_thresholds(MergePlan& plan);

// Norms by layer of the result, the last entry for what is outside the layers. Reads all weights.
std::vector<Norms> norms_by_layer(const MergePlan& plan);

}  // namespace streamline::merge
