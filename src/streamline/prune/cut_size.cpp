// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/cut_size.h"

#include <cmath>

#include "streamline/base/error.h"

namespace streamline {

CutSize closest_cut(double wanted, std::int64_t most,
                    const std::function<std::optional<double>(std::int64_t count)>& sparsity_of) {
  CutSize best;
  for (std::int64_t count = 1; count <= most; ++count) {
    const std::optional<double> sparsity = sparsity_of(count);
    if (!sparsity) continue;
    if (best.count == 0 || std::abs(*sparsity - wanted) < std::abs(best.sparsity - wanted)) best = {count, *sparsity};
  }
  if (best.count == 0) fail(ErrorKind::usage, "no window of any length may be cut; protect fewer layers");
  return best;
}

}  // namespace streamline
