// SPDX-License-Identifier: Apache-2.0
#include "streamline/plan/overlap.h"

#include "streamline/base/error.h"

namespace streamline {
namespace {

// Attention and MLP of each layer in turn, true where it goes.
std::vector<bool> cut_halves(const Plan& plan) {
  std::vector<bool> cut(static_cast<std::size_t>(2 * plan.base.layers));
  for (const Segment& segment : plan.segments) {
    const bool whole = segment.action == Action::drop || segment.action == Action::replace;
    for (std::int64_t layer = segment.first; layer <= segment.last; ++layer) {
      const auto at = static_cast<std::size_t>(2 * layer);
      cut[at] = whole || segment.action == Action::drop_attention;
      cut[at + 1] = whole || segment.action == Action::drop_mlp;
    }
  }
  return cut;
}

}  // namespace

double cut_overlap(const Plan& a, const Plan& b) {
  if (a.base.layers != b.base.layers)
    fail(ErrorKind::mismatch, "plans for ", a.base.layers, " and ", b.base.layers, " layers cannot be compared");
  const std::vector<bool> one = cut_halves(a), other = cut_halves(b);
  std::int64_t both = 0, either = 0;
  for (std::size_t i = 0; i < one.size(); ++i) {
    both += one[i] && other[i] ? 1 : 0;
    either += one[i] || other[i] ? 1 : 0;
  }
  return either == 0 ? 1 : static_cast<double>(both) / static_cast<double>(either);
}

}  // namespace streamline
