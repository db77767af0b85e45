// SPDX-License-Identifier: Apache-2.0
// A model: a checkpoint seen through a plan. Weights stay mapped; a layer is brought into the compute type when asked.
#pragma once

#include <functional>
#include <memory>

#include "streamline/arch/config.h"
#include "streamline/engine/placement.h"
#include "streamline/engine/side_route.h"
#include "streamline/engine/weight_change.h"
#include "streamline/nn/block.h"
#include "streamline/nn/slice.h"
#include "streamline/plan/masks_file.h"
#include "streamline/plan/plan.h"

namespace streamline {

class WeightSource;

// Trained (or initial) weights of a plan's replaced segments, by index of the segment.
using Replacements = std::map<std::int64_t, LayerWeights>;

class Model {
 public:
  // Errors: those of resolve_config.
  static Model open(std::shared_ptr<const Checkpoint> checkpoint, Placement placement);

  const Config& config() const { return config_; }  // of this stack: layers as after the plan
  const Placement& placement() const { return placement_; }
  const Checkpoint& checkpoint() const { return *checkpoint_; }
  std::shared_ptr<const Checkpoint> shared_checkpoint() const { return checkpoint_; }
  std::int64_t layer_count() const { return config_.layer_count(); }

  // Weights of layer i in the compute type: a view of the mapped file where the types agree (CPU), else a conversion.
  // Use::often keeps conversions in a cache (conversion_cache()); Use::once does not (a sweep's batch pays for its
  // own).
  enum class Use { often, once };
  LayerWeights layer(std::int64_t i, Use use = Use::often) const;
  // Empties that cache of its layers, which are converted anew when they are asked for again.
  void forget_layers() const;
  // Hints for weights that are mapped: begins to read those of layer i from the disk; takes them out of the process,
  // who may touch them again later.
  void will_need_layer(std::int64_t i) const;
  void done_with_layer(std::int64_t i) const;

  // ids: [batch, seq] int64 → [batch, seq, hidden]; learned positions start at `first_position`.
  // Errors: mismatch for an id outside the embedding, and for positions beyond a table of learned ones.
  torch::Tensor embed(const torch::Tensor& ids, std::int64_t first_position = 0) const;
  // The same for tokens at any positions, [seq] int64.
  torch::Tensor embed(const torch::Tensor& ids, const torch::Tensor& positions) const;
  torch::Tensor final_norm(const torch::Tensor& hidden) const;
  // hidden: [..., hidden] after the last layer, before the final norm → [..., vocab].
  torch::Tensor logits(const torch::Tensor& hidden) const;
  // logits() in two steps, for who takes the vocabulary in pieces: what the head reads of hidden states, [..., width],
  // and the logits of its entries first … first+count-1, [..., count].
  torch::Tensor head_input(const torch::Tensor& hidden) const;
  torch::Tensor head_logits(const torch::Tensor& input, std::int64_t first, std::int64_t count) const;
  // The same for who asks in pieces of the hidden states: the whole head, which may be a conversion of its own, once.
  RoleTensors head() const;
  std::uint64_t head_bytes() const;  // that head() takes beside the mapped file
  torch::Tensor head_logits(const torch::Tensor& input, const RoleTensors& head) const;

  std::int64_t parameters() const;     // of this stack
  std::uint64_t weight_bytes() const;  // of this stack in the stored types

  // The same model through a plan for it; nothing is copied. A plan's masks are carried out before: see check_masks().
  // Errors: mismatch when the plan is not for this stack.
  Model view(const Plan& plan, const Replacements& replacements) const;
  // The same model with gates inside some of its layers, by layer of this stack, in the compute type. A layer that has
  // gates is not sliced afterwards.
  Model gated(const std::map<std::int64_t, Gates>& gates) const;
  // This model with what the plan's slices take away switched off instead: all layers and widths as they are. The plan
  // drops and replaces nothing.
  Model masked(const Plan& plan) const;
  // The same model for this rank by itself: the others need not run it too.
  Model alone() const;
  // The first `count` layers only (what healing runs).
  Model truncated(std::int64_t count) const;
  // The same model with some matrices changed; it stands for the changed ones wherever it is computed with or written.
  Model changed(std::shared_ptr<const WeightChange> change) const;
  // The same model with what enters one layer made by a side route; it runs wherever the layers do, and no plan takes
  // layers out of such a model.
  Model routed(std::shared_ptr<const SideRoute> route) const;
  const std::shared_ptr<const SideRoute>& route() const { return route_; }  // null: none
  // A matrix of a layer of the checkpoint as it would be stored, [out, in] in the stored type, changed or not; what one
  // tensor has of all experts is [experts, in, out].
  torch::Tensor stored_matrix(std::int64_t layer, Role role, std::int64_t expert = -1) const;
  bool changes(std::int64_t layer, Role role, std::int64_t expert = -1) const;
  bool has_changes() const;                        // whether it was made by changed()
  std::shared_ptr<const MasksFile> masks() const;  // by which it was changed; null: by none
  // Whether what the plan masks is masked in this model: it was changed by masking() of the plan's file. Errors:
  // mismatch.
  void check_masks(const Plan& plan) const;

 private:
  void visit_mapped(std::int64_t i, void (*visit)(std::span<const std::byte> mapped)) const;
  // Layers of the source that the halves come from (-1: that half is missing), or a replacement's weights in the
  // compute type.
  struct StackEntry {
    std::int64_t attention = -1, mlp = -1;
    std::shared_ptr<const LayerWeights> weights = {};  // shared by views of views
    LayerSlice slice = {};                             // of the source's halves
    std::shared_ptr<const Gates> gates = {};
  };
  StackEntry entry_for(const OutputLayer& layer) const;
  LayerWeights ungated_layer(const StackEntry& entry, const LayerConfig& config, Use use) const;
  // Calls stored(info, elements) for each tensor of the file that this stack has, with how much of it a slice leaves,
  // and trained(tensor) for each of its replacements.
  void for_each_tensor(const std::function<void(const TensorInfo& info, std::int64_t elements)>& stored,
                       const std::function<void(const torch::Tensor& tensor)>& trained) const;
  Model() = default;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::shared_ptr<const WeightSource> source_;  // shared by all views
  std::vector<StackEntry> stack_;
  std::shared_ptr<const SideRoute> route_;
  Config config_;
  Placement placement_;
};

// All hidden states at once, [layers + 1] tensors of [batch, seq, hidden]; h_L is before the final norm. Tests, small
// inputs.
std::vector<torch::Tensor> hidden_states(const Model& model, const torch::Tensor& ids);
torch::Tensor forward_logits(const Model& model, const torch::Tensor& ids);  // [batch, seq, vocab]

}  // namespace streamline
