// SPDX-License-Identifier: Apache-2.0
#include "streamline/plan/overlap.h"

#include "streamline/base/error.h"
#include "streamline/plan/slice.h"

namespace streamline {
namespace {

// What a plan does to one half of a layer.
struct CutHalf {
  bool gone = false;
  std::vector<KeptUnits> kept = {};  // else inside it; empty: all
};

// Attention and MLP of each layer in turn.
std::vector<CutHalf> cut_halves(const Plan& plan) {
  std::vector<CutHalf> cut(static_cast<std::size_t>(2 * plan.base.layers));
  for (const Segment& segment : plan.segments) {
    const bool whole = segment.action == Action::drop || segment.action == Action::replace;
    for (std::int64_t layer = segment.first; layer <= segment.last; ++layer) {
      const auto at = static_cast<std::size_t>(2 * layer);
      cut[at].gone = whole || segment.action == Action::drop_attention;
      cut[at + 1].gone = whole || segment.action == Action::drop_mlp;
    }
  }
  for (const auto& [layer, slice] : plan.slices) {
    const auto at = static_cast<std::size_t>(2 * layer);
    if (slice.kv_heads) cut[at].kept = {*slice.kv_heads};
    cut[at + 1].kept = slice.channels;
  }
  return cut;
}

// The units of a half that go, of `networks` with `of` units each.
std::vector<bool> cut_units(const CutHalf& half, std::size_t networks, std::int64_t of) {
  std::vector<bool> cut(networks * static_cast<std::size_t>(of), half.gone || !half.kept.empty());
  if (half.gone || half.kept.empty()) return cut;
  for (std::size_t i = 0; i < networks; ++i)
    for (const std::int64_t unit : half.kept[half.kept.size() == 1 ? 0 : i].kept)
      cut[i * static_cast<std::size_t>(of) + static_cast<std::size_t>(unit)] = false;
  return cut;
}

}  // namespace

double cut_overlap(const Plan& a, const Plan& b) {
  if (a.base.layers != b.base.layers)
    fail(ErrorKind::mismatch, "plans for ", a.base.layers, " and ", b.base.layers, " layers cannot be compared");
  const std::vector<CutHalf> one = cut_halves(a), other = cut_halves(b);
  double both = 0, either = 0;
  for (std::size_t half = 0; half < one.size(); ++half) {
    const std::vector<KeptUnits>& wider =
        one[half].kept.size() < other[half].kept.size() ? other[half].kept : one[half].kept;
    const std::int64_t of = wider.empty() ? 1 : wider.front().of;
    for (const CutHalf* cut : {&one[half], &other[half]})
      if (!cut->kept.empty() && cut->kept.front().of != of)
        fail(ErrorKind::mismatch, "plans that slice ", of, " and ", cut->kept.front().of,
             " units of one half cannot be compared");
    const std::size_t networks = std::max<std::size_t>(wider.size(), 1);
    const std::vector<bool> x = cut_units(one[half], networks, of), y = cut_units(other[half], networks, of);
    double together = 0, any = 0;
    for (std::size_t i = 0; i < x.size(); ++i) together += x[i] && y[i] ? 1 : 0, any += x[i] || y[i] ? 1 : 0;
    both += together / static_cast<double>(x.size());
    either += any / static_cast<double>(x.size());
  }
  return either == 0 ? 1 : both / either;
}

}  // namespace streamline
