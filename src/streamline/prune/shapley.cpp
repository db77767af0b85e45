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

// Of all runs, one behind the other: draws an order for each and asks `costs`, which gives `cost` values, for those
// that are this rank's.
struct Runs {
  std::vector<std::vector<std::int64_t>> orders = {};
  std::vector<double> costs = {};
};
using CostsOfRun = std::function<std::vector<double>(std::size_t item, std::span<const std::int64_t> order)>;
Runs play(const UnitGame& game, const ShapleyOptions& options, std::int64_t runs, std::int64_t cost,
          const std::string& what, const CostsOfRun& costs) {
  std::optional<Progress> progress;
  if (!options.label.empty()) progress.emplace(options.label, runs, what);
  Rng rng(options.seed);
  Runs played{.costs =
                  std::vector<double>(static_cast<std::size_t>(runs * cost))};  // each of one rank, and 0 elsewhere
  for (std::int64_t run = 0; run < runs; ++run) {
    played.orders.push_back(permutation(static_cast<std::int64_t>(game.units), rng));
    if (!game.ranks.takes(run)) continue;
    const std::vector<double> found = costs(static_cast<std::size_t>(run) % game.items, played.orders.back());
    SL_ASSERT(std::ssize(found) == cost);
    std::ranges::copy(found, played.costs.begin() + run * cost);
    if (progress) progress->advance(game.ranks.size());
  }
  game.ranks.sum(played.costs);
  return played;
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
  const Runs played = play(game, options, result.runs, units + 1, "permutations", game.walk);
  std::vector<std::vector<MeanAccumulator>> marginals(game.units, std::vector<MeanAccumulator>(game.items));
  for (std::size_t run = 0; run < played.orders.size(); ++run) {
    const std::span costs = std::span(played.costs).subspan(run * (game.units + 1), game.units + 1);
    for (std::size_t k = 0; k < game.units; ++k)
      marginals[static_cast<std::size_t>(played.orders[run][k])][run % game.items].add(costs[k + 1] - costs[k]);
    result.whole += costs.front() / static_cast<double>(result.runs);
    result.none += costs.back() / static_cast<double>(result.runs);
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
  const auto cost_of = [&](std::size_t item, std::span<const std::int64_t> order) {
    return std::vector<double>{game.value(item, order.subspan(static_cast<std::size_t>(kept)))};
  };
  const Runs played = play(game, options, result.runs, 1, "subsets", cost_of);
  std::vector<MeanAccumulator> present(game.units), absent(game.units);
  for (std::size_t run = 0; run < played.orders.size(); ++run)
    for (std::int64_t k = 0; k < units; ++k)
      (k < kept ? present : absent)[static_cast<std::size_t>(played.orders[run][static_cast<std::size_t>(k)])].add(
          played.costs[run]);
  for (std::size_t unit = 0; unit < game.units; ++unit) {
    const Estimate with = present[unit].estimate(), without = absent[unit].estimate();
    if (with.count == 0 || without.count == 0)
      fail(ErrorKind::usage, "of ", result.runs, " random subsets of ", kept, " of ", units, " units some are in ",
           with.count == 0 ? "none" : "all", "; ask for more --subsets, or another --share");
    Estimate& value = result.values.emplace_back(Estimate{.value = without.value - with.value, .count = result.runs});
    if (with.standard_error && without.standard_error)
      value.standard_error = std::hypot(*with.standard_error, *without.standard_error);
  }
  return result;
}

}  // namespace streamline
