// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/shapley.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/random.h"

namespace streamline {
namespace {

// Runs over the items in turn, as many as the limit allows at `cost` evaluations each.
std::int64_t affordable_runs(const UnitGame& game, const ShapleyOptions& options, std::int64_t cost) {
  const std::int64_t wanted = options.repetitions * static_cast<std::int64_t>(game.items);
  const std::int64_t runs = options.evaluations > 0 ? std::min(wanted, options.evaluations / cost) : wanted;
  if (runs < 1) fail(ErrorKind::usage, "--evaluations ", options.evaluations, ": one permutation takes ", cost);
  return runs;
}

// The mean over all runs, with the deviation of the items' means.
Estimate over_items(const std::vector<MeanAccumulator>& items) {
  Estimate estimate;
  MeanAccumulator means;
  for (const MeanAccumulator& item : items) {
    if (item.count() == 0) continue;
    estimate.value += item.mean() * static_cast<double>(item.count());
    estimate.count += item.count();
    means.add(item.mean());
  }
  estimate.value /= static_cast<double>(estimate.count);
  estimate.standard_error =
      means.count() > 1 ? means.estimate().standard_error : items.front().estimate().standard_error;
  return estimate;
}

}  // namespace

ShapleyValues shapley_values(const UnitGame& game, const ShapleyOptions& options) {
  const auto units = static_cast<std::int64_t>(game.units);
  ShapleyValues result;
  result.runs = affordable_runs(game, options, units + 1);
  result.evaluations = result.runs * (units + 1);
  std::optional<Progress> progress;
  if (!options.label.empty()) progress.emplace(options.label, result.runs, "permutations");
  Rng rng(options.seed);
  std::vector<std::vector<MeanAccumulator>> marginals(game.units, std::vector<MeanAccumulator>(game.items));
  for (std::int64_t run = 0; run < result.runs; ++run) {
    const std::size_t item = static_cast<std::size_t>(run) % game.items;
    const std::vector<std::int64_t> order = permutation(units, rng);
    const std::vector<double> costs = game.walk(item, order);
    SL_ASSERT(costs.size() == game.units + 1);
    for (std::size_t k = 0; k < game.units; ++k)
      marginals[static_cast<std::size_t>(order[k])][item].add(costs[k + 1] - costs[k]);
    result.whole += costs.front() / static_cast<double>(result.runs);
    result.none += costs.back() / static_cast<double>(result.runs);
    if (progress) progress->advance(1);
  }
  for (const auto& of_unit : marginals) result.values.push_back(over_items(of_unit));
  return result;
}

ShapleyValues subset_values(const UnitGame& game, double share, const ShapleyOptions& options) {
  const auto units = static_cast<std::int64_t>(game.units);
  const std::int64_t kept =
      std::max<std::int64_t>(1, static_cast<std::int64_t>(std::floor(share * static_cast<double>(units) + 1e-9)));
  ShapleyValues result;
  result.runs = result.evaluations = affordable_runs(game, options, 1);
  std::optional<Progress> progress;
  if (!options.label.empty()) progress.emplace(options.label, result.runs, "subsets");
  Rng rng(options.seed);
  std::vector<MeanAccumulator> present(game.units), absent(game.units);
  for (std::int64_t run = 0; run < result.runs; ++run) {
    const std::vector<std::int64_t> order = permutation(units, rng);
    const std::span<const std::int64_t> left_out = std::span(order).subspan(static_cast<std::size_t>(kept));
    const double cost = game.value(static_cast<std::size_t>(run) % game.items, left_out);
    for (std::int64_t k = 0; k < units; ++k)
      (k < kept ? present : absent)[static_cast<std::size_t>(order[static_cast<std::size_t>(k)])].add(cost);
    if (progress) progress->advance(1);
  }
  for (std::size_t unit = 0; unit < game.units; ++unit) {
    const Estimate with = present[unit].estimate(), without = absent[unit].estimate();
    if (with.count == 0 || without.count == 0)
      fail(ErrorKind::usage, "of ", result.runs, " random subsets of ", kept, " of ", units, " units some are in ",
           with.count == 0 ? "none" : "all", "; ask for more --subsets, or another --share");
    result.values.push_back(
        {without.value - with.value, std::hypot(with.standard_error, without.standard_error), result.runs});
  }
  return result;
}

}  // namespace streamline
