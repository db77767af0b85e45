// SPDX-License-Identifier: Apache-2.0
// A replacement in training: one network or several in a row, their prediction and their gradient.
#pragma once

#include <functional>

#include "streamline/engine/placement.h"
#include "streamline/nn/block.h"

namespace streamline {

// Master weights that learn. They are cast to the compute type inside the graph, so their gradient has their precision.
class Student {
 public:
  // Copies `initial`, in order of depth; its type becomes that of the master weights. `learns` says which tensors are
  // trained (empty: all). `config` is that of the model and must stay.
  Student(const Config& config, const Placement& placement, const std::vector<LayerWeights>& initial,
          bool (*learns)(Role) = nullptr);

  torch::Tensor forward(const torch::Tensor& input) const;  // [batch, seq, hidden] → same, positions from 0
  // Adds to the gradient of every parameter that of sum(forward(input) * output_gradient(forward(input))). The function
  // is given the prediction without its graph and returns a gradient of its shape.
  void add_gradient(const torch::Tensor& input,
                    const std::function<torch::Tensor(const torch::Tensor&)>& output_gradient);

  const std::vector<torch::Tensor>& parameters() const { return parameters_; }  // those that learn
  std::int64_t parameter_count() const;
  // A copy of all weights, fp32 on the CPU, in order of depth, and back.
  std::vector<torch::Tensor> snapshot() const;
  void assign(const std::vector<torch::Tensor>& weights);
  std::vector<LayerWeights> networks() const;  // the same copy, by network and role

 private:
  const Config& config_;
  Placement placement_;
  std::vector<LayerWeights> master_;
  std::vector<torch::Tensor> parameters_;
};

}  // namespace streamline
