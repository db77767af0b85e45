// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/allocation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "streamline/base/error.h"

namespace streamline {
namespace {

double size_weighted(const std::vector<AllocationPart>& parts, const std::vector<double>& values) {
  double sum = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) sum += static_cast<double>(parts[i].size) * values[i];
  return sum;
}

// The metrics brought to [0, 1]; one half each where they are all equal.
std::vector<double> unit_metrics(const std::vector<AllocationPart>& parts) {
  const auto [low, high] = std::ranges::minmax_element(parts, {}, &AllocationPart::metric);
  std::vector<double> unit;
  for (const AllocationPart& part : parts)
    unit.push_back(high->metric > low->metric ? (part.metric - low->metric) / (high->metric - low->metric) : 0.5);
  return unit;
}

// The largest ratio is ratio (1 + s) / (1 - s + 2 s mean) for a spread s and the mean of the unit metrics.
double spread_at_cap(const std::vector<AllocationPart>& parts, const std::vector<double>& unit, double total,
                     double ratio, double cap) {
  const double mean = size_weighted(parts, unit) / total, slope = ratio + cap - 2 * cap * mean;
  return slope > 0 ? (cap - ratio) / slope : std::numeric_limits<double>::infinity();
}

// Parts above the cap stand at it; what they do not lose the others do, in proportion.
void clip_to_cap(const std::vector<AllocationPart>& parts, const AllocationOptions& options, double total,
                 Allocation& allocation) {
  std::vector<bool> fixed(parts.size(), false);
  for (bool changed = true; changed;) {
    changed = false;
    double at_cap = 0, free = 0;
    for (std::size_t i = 0; i < parts.size(); ++i)
      (fixed[i] ? at_cap : free) += static_cast<double>(parts[i].size) * allocation.ratios[i];
    const double factor = free > 0 ? (options.ratio * total - at_cap) / free : 1;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (fixed[i]) continue;
      allocation.ratios[i] *= factor;
      if (allocation.ratios[i] <= options.cap) continue;
      allocation.ratios[i] = options.cap;
      allocation.clipped.push_back(i);
      changed = fixed[i] = true;
    }
  }
  std::ranges::sort(allocation.clipped);
}

}  // namespace

void check_allocation(const AllocationOptions& options) {
  if (!(options.ratio >= 0 && options.ratio < 1))
    fail(ErrorKind::usage, "a ratio of ", options.ratio, ": from 0 to below 1, of the weights that go");
  if (!(options.spread >= 0 && options.spread <= 1))
    fail(ErrorKind::usage, "a spread of ", options.spread, ": between 0 (all alike) and 1");
  if (!(options.cap > 0 && options.cap <= 1) || options.cap < options.ratio)
    fail(ErrorKind::usage, "no layer may lose more than ", options.cap, " (--cap), and all together shall lose ",
         options.ratio);
}

Allocation allocate(const std::vector<AllocationPart>& parts, const AllocationOptions& options) {
  SL_ASSERT(!parts.empty());
  check_allocation(options);
  for (const AllocationPart& part : parts)
    if (!std::isfinite(part.metric) || part.size < 1)
      fail(ErrorKind::numeric, "a part of ", part.size, " weights measured as ", part.metric);
  double total = 0;
  for (const AllocationPart& part : parts) total += static_cast<double>(part.size);
  const std::vector<double> unit = unit_metrics(parts);
  Allocation allocation;
  allocation.spread = options.spread;
  for (const double value : unit) allocation.ratios.push_back(1 - options.spread + 2 * options.spread * value);
  const double raw = size_weighted(parts, allocation.ratios);
  allocation.eta = raw > 0 ? options.ratio * total / raw : 0;
  for (double& ratio : allocation.ratios) ratio *= allocation.eta;
  allocation.largest_spread = spread_at_cap(parts, unit, total, options.ratio, options.cap);
  constexpr double kRounding = 1e-12;
  const auto largest = std::ranges::max_element(allocation.ratios);
  if (*largest <= options.cap + kRounding) return allocation;
  if (!options.clip)
    fail(ErrorKind::usage, "a spread of ", options.spread, " takes ", *largest, " of the weights of layer ",
         largest - allocation.ratios.begin(), ", which has ", options.cap,
         " to lose at most; the largest spread here is ", allocation.largest_spread,
         "; take that or less, or let such layers stand at the cap with --clip");
  clip_to_cap(parts, options, total, allocation);
  return allocation;
}

std::vector<std::int64_t> whole_units(const std::vector<double>& ratios, const std::vector<AllocationPart>& parts,
                                      std::int64_t units) {
  SL_ASSERT(ratios.size() == parts.size());
  std::vector<std::int64_t> whole;
  std::vector<std::size_t> order(ratios.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::vector<double> rest;
  double left = 0;
  for (std::size_t i = 0; i < ratios.size(); ++i) {
    const double exact = ratios[i] * static_cast<double>(units);
    whole.push_back(std::clamp<std::int64_t>(static_cast<std::int64_t>(std::floor(exact + 1e-9)), 0, units));
    rest.push_back(exact - static_cast<double>(whole.back()));
    left += rest.back() * static_cast<double>(parts[i].size);
  }
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return rest[a] > rest[b]; });
  for (const std::size_t i : order) {
    if (left < static_cast<double>(parts[i].size) / 2 || whole[i] == units) continue;
    ++whole[i];
    left -= static_cast<double>(parts[i].size);
  }
  return whole;
}

}  // namespace streamline
