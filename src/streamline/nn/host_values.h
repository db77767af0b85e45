// SPDX-License-Identifier: Apache-2.0
// The numbers of a tensor where loops read them.
#pragma once

#include <vector>

#include "streamline/nn/torch.h"

namespace streamline {

// All elements in order, from any device and of any type.
std::vector<double> to_doubles(const torch::Tensor& values);

}  // namespace streamline
