// SPDX-License-Identifier: Apache-2.0
// What enters each part of a stack, kept while a search tries what may follow: in memory, where that does not suffice
// in a temporary file, and what neither holds is computed anew from the nearest state before it. All three give the
// same bits.
#pragma once

#include <optional>
#include <vector>

#include "streamline/engine/layer_states.h"

namespace streamline {

struct PrefixLimits {
  std::optional<std::uint64_t> memory = {};  // bytes; empty: half of what computing leaves of the limit, 2 GB at most
  std::uint64_t file = 20'000'000'000;       // bytes of the temporary file of a process, which has one at a time
};

class PrefixStates {
 public:
  // Of a stack of so many parts; the model must live as long.
  PrefixStates(const Model& model, std::size_t parts, const PrefixLimits& limits)
      : model_(model), parts_(parts), limits_(limits) {}

  // Room for batches of these shapes, [sequences, tokens, hidden]; what was kept may be lost. A batch of no sequences
  // takes none. The file takes half of what its disk has free at most. Errors: those of ScratchFile.
  void begin(const std::vector<LayerStates::Shape>& batches);

  // The last part up to this one whose input is kept once it was put; 0 is never kept, as embedding costs nothing.
  std::size_t nearest(std::size_t part) const { return part - part % stride_; }
  // Nothing happens where it is not kept.
  void put(std::size_t batch, std::size_t part, const torch::Tensor& entering);
  // Of nearest() parts but 0; on the model's device. It may be read until another is put in its place.
  torch::Tensor get(std::size_t batch, std::size_t part) const;
  // Takes what was read of a batch out of the process, where it lies in a file.
  void rest(std::size_t batch) const { states_->rest(batch); }

  bool in_file() const { return states_ && states_->in_file(); }

 private:
  std::int64_t place(std::size_t part) const { return static_cast<std::int64_t>(part / stride_) - 1; }

  const Model& model_;
  std::size_t parts_;
  PrefixLimits limits_;
  std::size_t stride_ = 1;  // of so many parts one's input is kept
  std::vector<LayerStates::Shape> shapes_;
  std::optional<LayerStates> states_;
};

}  // namespace streamline
