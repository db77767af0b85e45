// SPDX-License-Identifier: Apache-2.0
// The weights of a checkpoint in the compute type, its layers as they are stored: views of the mapped file where the
// types agree, else conversions, of which as many are kept as a bounded cache holds.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "streamline/arch/config.h"
#include "streamline/engine/placement.h"
#include "streamline/engine/weight_change.h"
#include "streamline/nn/weights.h"

namespace streamline {

// Calls visit(role, expert) for all that a layer may have, whether an ordinary one of its family or one of our
// extension; expert < 0 outside the experts.
void for_each_role(const LayerConfig& layer, const std::function<void(Role role, std::int64_t expert)>& visit);

// Safe to ask from several threads.
class WeightSource {
 public:
  // config: of the whole checkpoint. change: matrices that differ from the stored ones wherever they are asked for.
  WeightSource(std::shared_ptr<const Checkpoint> checkpoint, Config config, Placement placement,
               std::shared_ptr<const WeightChange> change = {});

  const Config& config() const { return config_; }
  bool has_changes() const { return change_ != nullptr; }
  std::shared_ptr<const MasksFile> masks() const { return change_ ? change_->masks : nullptr; }
  bool changes(std::int64_t layer, Role role, std::int64_t expert = -1) const;
  // Null where the checkpoint has no such tensor. layer < 0: outside the layers.
  const TensorInfo* info(std::int64_t layer, Role role, Part part, std::int64_t expert = -1) const;

  // As stored, a matrix [out, in] (one that lies [in, out] in the file is a turned view), changed where it changes;
  // undefined where the checkpoint has none.
  torch::Tensor stored(std::int64_t layer, Role role, Part part, std::int64_t expert = -1) const;

  // A layer in the compute type; `keeps` lets its conversions into the cache.
  LayerWeights layer(std::int64_t index, bool keeps) const;
  // Empties the cache of its layers.
  void forget_layers() const;

  // What lies outside the layers, in the compute type.
  RoleTensors global(Role role) const;
  // Rows first … first+count-1 of the head; of a head too large to keep converted only these are brought into the type.
  RoleTensors head_rows(std::int64_t first, std::int64_t count) const;
  // Bytes that the whole head takes beside the mapped file.
  std::uint64_t head_bytes() const;

 private:
  bool converts(std::int64_t layer, Role role) const;
  torch::Tensor placed(std::int64_t layer, Role role, Part part, std::int64_t expert = -1) const;
  LayerWeights load_layer(std::int64_t index) const;
  bool keep(std::uint64_t bytes) const;
  bool can_keep(Role role, std::uint64_t bytes) const;

  std::shared_ptr<const Checkpoint> checkpoint_;
  Config config_;
  Placement placement_;
  std::uint64_t limit_;  // bytes of the cache
  std::shared_ptr<const WeightChange> change_;

  // Conversions, kept first come: a sweep asks for the layers in turn, where dropping the least recent would never hit.
  mutable std::mutex mutex_;
  mutable std::map<std::int64_t, LayerWeights> layers_;
  mutable std::map<Role, RoleTensors> globals_;
  mutable std::uint64_t kept_ = 0;
};

}  // namespace streamline
