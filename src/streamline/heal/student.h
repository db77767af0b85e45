// SPDX-License-Identifier: Apache-2.0
// A replacement in training: the states around its window, its prediction, its error and its gradient.
#pragma once

#include "streamline/engine/sweep.h"

namespace streamline {

// What the replacement reads (h_first) and what it should give (h_{first+count}); [batch, seq, hidden], compute type.
struct WindowStates {
  torch::Tensor input, output;
  std::int64_t tokens() const { return input.size(0) * input.size(1); }
};

// Of the given sequences, all of one length. `body` is the model truncated after the window. Nothing is kept.
WindowStates window_states(const Model& body, std::int64_t first, const TokenBatches& batches,
                           const std::vector<std::int64_t>& sequences);

// The sum over all elements of (a - b)^2, in fp32 or wider.
torch::Tensor squared_error(const torch::Tensor& a, const torch::Tensor& b);

// Master weights that learn. They are cast to the compute type inside the graph, so their gradient has their precision.
class Student {
 public:
  // Copies `initial`; its type becomes that of the master weights. `config` is that of the model and must stay.
  Student(const Config& config, const Placement& placement, const LayerWeights& initial);

  torch::Tensor forward(const torch::Tensor& input) const;  // [batch, seq, hidden] → same, positions from 0
  // Adds the gradient of squared_error / elements, where `elements` counts a whole optimizer step; returns that share
  // of its loss.
  double add_gradient(const WindowStates& states, double elements);

  const std::vector<torch::Tensor>& parameters() const { return parameters_; }
  std::int64_t parameter_count() const;
  LayerWeights snapshot() const;  // a copy, fp32 on the CPU

 private:
  const Config& config_;
  Placement placement_;
  LayerWeights master_;
  std::vector<torch::Tensor> parameters_;
};

}  // namespace streamline
