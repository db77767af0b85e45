// SPDX-License-Identifier: Apache-2.0
// How many layers to cut for a wanted share of the parameters.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

namespace streamline {

struct CutSize {
  std::int64_t count = 0;
  double sparsity = 0;  // what cutting `count` layers gives
};

// The count in 1 … most whose sparsity is closest to the wanted one, the smaller count on ties (LLM-Streamline's tables
// come out closest, not below). `sparsity_of` is empty where no window of that count may be cut.
// Errors: usage when that is so for every count.
CutSize closest_cut(double wanted, std::int64_t most,
                    const std::function<std::optional<double>(std::int64_t count)>& sparsity_of);

}  // namespace streamline
