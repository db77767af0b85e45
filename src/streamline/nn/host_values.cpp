// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/host_values.h"

namespace streamline {

std::vector<double> to_doubles(const torch::Tensor& values) {
  const torch::Tensor plain = values.to(torch::kCPU, torch::kDouble).contiguous();
  return {plain.const_data_ptr<double>(), plain.const_data_ptr<double>() + plain.numel()};
}

}  // namespace streamline
