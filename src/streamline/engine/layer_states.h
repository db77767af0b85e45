// SPDX-License-Identifier: Apache-2.0
// The hidden states of many batches between two layers, or behind all of them: in memory, or, where they are too many,
// in a temporary file.
#pragma once

#include <memory>
#include <vector>

#include "streamline/base/scratch_file.h"
#include "streamline/engine/model.h"

namespace streamline {

class LayerStates {
 public:
  // Room for `depths` states of each batch, [sequences, tokens, hidden] of these shapes. With more than `memory` bytes
  // they lie in a file. Errors: those of ScratchFile.
  struct Shape {
    std::int64_t sequences = 0, tokens = 0;

    bool operator==(const Shape&) const = default;
  };
  LayerStates(const Model& model, const std::vector<Shape>& batches, std::int64_t depths, std::uint64_t memory);

  bool in_file() const { return file_ != nullptr; }
  // Takes over a state of a batch. One that was at its place goes, and what get() gave of it may no longer be read.
  void put(std::size_t batch, std::int64_t depth, const torch::Tensor& state);
  torch::Tensor get(std::size_t batch, std::int64_t depth) const;
  // Takes what was read of a batch out of the process; it stays in the file.
  void rest(std::size_t batch) const;

 private:
  std::size_t place(std::size_t batch, std::int64_t depth) const {
    return batch * static_cast<std::size_t>(depths_) + static_cast<std::size_t>(depth);
  }
  std::int64_t depths_;
  std::vector<torch::Tensor> states_;  // by batch, then depth
  std::unique_ptr<const ScratchFile> file_;
};

// Bytes that one state of such a batch takes.
std::uint64_t state_bytes(const Model& model, const LayerStates::Shape& batch);

}  // namespace streamline
