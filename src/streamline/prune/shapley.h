// SPDX-License-Identifier: Apache-2.0
// Shapley values of the parts of a model: what leaving one out costs, averaged over what else is left out. Estimated
// from random permutations, or as the depth study's code does from random subsets of one size.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "streamline/base/stats.h"
#include "streamline/engine/ranks.h"

namespace streamline {

// A game in costs: what a model without some of its units loses on each of some items (sequences of a text, groups of
// questions). Units are numbered from 0.
struct UnitGame {
  std::size_t units = 0, items = 0;
  // Costs on one item as the units of `order` are left out one after another: order.size() + 1 values, of which the
  // first is the whole model's.
  std::function<std::vector<double>(std::size_t item, std::span<const std::int64_t> order)> walk;
  // The cost on one item with these units left out together.
  std::function<double(std::size_t item, std::span<const std::int64_t> left_out)> value;
  Ranks ranks = {};  // that take the runs in turn, each by itself, and all get all costs
};

struct ShapleyOptions {
  std::int64_t repetitions = 1;  // permutations, or subsets, of every item
  std::int64_t evaluations = 0;  // most costs that are asked for; 0: no limit
  std::uint64_t seed = 0;
  std::string label = {};  // of the progress line; empty: none
};

struct ShapleyValues {
  // By unit: mean of cost without it - cost with it. The standard error is over items where there are several, each by
  // the mean of its permutations, else over permutations; there is none over one.
  std::vector<Estimate> values;
  double whole = 0, none = 0;  // mean costs of everything and of nothing; the values add up to none - whole
  std::int64_t runs = 0, evaluations = 0;
};

// Permutations are drawn anew for every item: items in turn, repetition after repetition, until the limit would be
// passed. Same seed, same values. Errors: usage when the limit is too small for one permutation.
ShapleyValues shapley_values(const UnitGame& game, const ShapleyOptions& options);

// The released code's estimate: every run keeps floor(share * units) random units, at least one, and a unit's value is
// the mean cost of the runs without it - the mean cost of those with it: of one size only, so that the values do not
// add up to anything. `whole` and `none` are 0. Errors: usage when some unit was never, or always, there, as with too
// few runs.
ShapleyValues subset_values(const UnitGame& game, double share, const ShapleyOptions& options);

}  // namespace streamline
