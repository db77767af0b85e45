// SPDX-License-Identifier: Apache-2.0
// AdamW (Loshchilov, Hutter, arXiv 1711.05101, algorithm 2): Adam with decoupled weight decay, in one pass over memory.
#pragma once

#include <vector>

#include "streamline/nn/torch.h"

namespace streamline {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
};

class AdamW {
 public:
  AdamW(std::vector<torch::Tensor> parameters, const AdamWOptions& options);

  // One update from the parameters' gradients, which it clears. Every parameter must have one.
  void step(double learning_rate);

  // What a later run needs to go on: the moments, in the order of the parameters, and the updates made.
  const std::vector<torch::Tensor>& means() const { return means_; }
  const std::vector<torch::Tensor>& squares() const { return squares_; }
  std::int64_t updates() const { return updates_; }
  void set_updates(std::int64_t updates);  // the moments are set through means() and squares()

 private:
  AdamWOptions options_;
  std::vector<torch::Tensor> parameters_, means_, squares_, steps_;
  std::int64_t updates_ = 0;
};

// Scales the gradients so that their common L2 norm is at most `limit` (0: no limit); returns the norm before.
double clip_gradients(const std::vector<torch::Tensor>& parameters, double limit);

}  // namespace streamline
