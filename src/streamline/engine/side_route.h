// SPDX-License-Identifier: Apache-2.0
// A change of the residual stream in front of one layer that looks at what earlier layers said, token by token: what
// cannot be folded into any layer's weights.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "streamline/nn/torch.h"

namespace streamline {

struct SideRoute {
  std::int64_t at = 0;                 // the layer whose input it makes
  std::vector<std::int64_t> features;  // h_i that it reads, ascending, at most h_at
  std::int64_t parameters = 0;
  // h_i of `features` and h_at, each [..., hidden] → what enters layer `at`. A token's result depends on that token
  // alone.
  std::function<torch::Tensor(const std::vector<torch::Tensor>& features, const torch::Tensor& stream)> apply;
};

// Walks one pass through the layers, and keeps what the route will read.
class RouteWalk {
 public:
  explicit RouteWalk(std::shared_ptr<const SideRoute> route) : route_(std::move(route)) {}

  // To be called with what would enter layer i, for all layers in turn; what does enter it.
  torch::Tensor enter(std::int64_t layer, torch::Tensor stream) {
    if (!route_ || layer > route_->at) return stream;
    for (const std::int64_t feature : route_->features)
      if (feature == layer) seen_.push_back(stream);
    return layer == route_->at ? route_->apply(std::exchange(seen_, {}), stream) : stream;
  }

 private:
  std::shared_ptr<const SideRoute> route_;
  std::vector<torch::Tensor> seen_;
};

}  // namespace streamline
