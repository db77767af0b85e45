// SPDX-License-Identifier: Apache-2.0
// Layers of a plan in messages.
#pragma once

#include <cstdint>
#include <string>

namespace streamline {

std::string layer_range(std::int64_t first, std::int64_t last);  // "5", "5..7"
std::string named_range(std::int64_t first, std::int64_t last);  // "layer 5", "layers 5..7"

}  // namespace streamline
