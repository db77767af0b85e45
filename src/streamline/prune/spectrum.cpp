// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/spectrum.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "streamline/base/error.h"
#include "streamline/base/value_named.h"
#include "streamline/nn/host_values.h"

namespace streamline {
namespace {

constexpr std::array<std::string_view, 3> kTails = {"peak", "peak-released", "middle"};
constexpr double kLeastEigenvalue = 1e-10;  // of the largest eigenvalue
constexpr std::size_t kDensityBins = 100;
// Starts that are tried: from this share of the fullest bin's left edge up to that multiple of it.
constexpr double kPeakLower = 0.95, kPeakUpper = 1.5;

torch::Tensor random_indices(std::int64_t size, std::int64_t count, Rng& rng) {
  std::vector<std::int64_t> order = permutation(size, rng);
  order.resize(static_cast<std::size_t>(count));
  return torch::tensor(order, torch::kLong);
}

torch::Tensor sampled_matrix(const torch::Tensor& matrix, std::int64_t largest_side, std::uint64_t seed) {
  const std::int64_t rows = matrix.size(0), columns = matrix.size(1), side = std::min(rows, columns);
  if (side <= largest_side) return matrix;
  Rng rng(seed);
  const auto part = [&](std::int64_t size) { return std::max<std::int64_t>(1, size * largest_side / side); };
  const auto of_rows = random_indices(rows, part(rows), rng), of_columns = random_indices(columns, part(columns), rng);
  return matrix.index_select(0, of_rows).index_select(1, of_columns);
}

// The left edge of the fullest of 100 equal bins of the logarithms, the first of several.
double peak_edge(const std::vector<double>& ascending) {
  const double low = std::log10(ascending.front()), width = (std::log10(ascending.back()) - low) / kDensityBins;
  if (width <= 0) return ascending.front();
  std::array<std::size_t, kDensityBins> counts{};
  for (const double value : ascending)
    ++counts[std::min(kDensityBins - 1, static_cast<std::size_t>((std::log10(value) - low) / width))];
  const auto fullest = std::distance(counts.begin(), std::max_element(counts.begin(), counts.end()));
  return std::pow(10.0, low + width * static_cast<double>(fullest));
}

// The largest distance of the tail's own distribution, counted from the left, to the law.
double law_distance(const std::vector<double>& ascending, std::size_t start, double alpha) {
  const double count = static_cast<double>(ascending.size() - start);
  double largest = 0;
  for (std::size_t j = start; j < ascending.size(); ++j) {
    const double law = 1 - std::pow(ascending[j] / ascending[start], 1 - alpha);
    largest = std::max(largest, std::abs(law - static_cast<double>(j - start) / count));
  }
  return largest;
}

}  // namespace

TailStart parse_tail(std::string_view name) { return value_named<TailStart>(kTails, name, "start of a tail"); }

std::vector<double> eigenvalues(const torch::Tensor& matrix, std::int64_t largest_side, std::uint64_t seed) {
  SL_ASSERT(matrix.dim() == 2 && largest_side > 0);
  const auto wide = sampled_matrix(matrix, largest_side, seed).to(torch::kCPU, torch::kFloat);
  if (!torch::isfinite(wide).all().item<bool>()) fail(ErrorKind::numeric, "a matrix holds values that are not finite");
  std::vector<double> values = to_doubles(at::linalg_svdvals(wide));
  std::ranges::reverse(values);
  for (double& value : values) value *= value;
  const double least = values.empty() ? 0 : kLeastEigenvalue * values.back();
  std::erase_if(values, [&](double value) { return !(value > least); });
  return values;
}

Exponent hill(const std::vector<double>& ascending, std::size_t start) {
  SL_ASSERT(start < ascending.size() && ascending[start] > 0);
  const double first = ascending[start], count = static_cast<double>(ascending.size() - start);
  double sum = 0;
  for (std::size_t j = start; j < ascending.size(); ++j) sum += std::log(ascending[j] / first);
  Exponent exponent{.alpha = 1 + count / sum, .distance = 1, .start = first, .tail = static_cast<std::int64_t>(count)};
  if (exponent.alpha > 1 && std::isfinite(exponent.alpha))
    exponent.distance = law_distance(ascending, start, exponent.alpha);
  return exponent;
}

Exponent tail_exponent(const std::vector<double>& ascending, TailStart tail) {
  if (ascending.size() < 2)
    fail(ErrorKind::numeric, "a matrix of rank ", ascending.size(), " has no spectrum whose tail could be measured");
  if (tail == TailStart::middle) {
    const Exponent exponent = hill(ascending, ascending.size() / 2);
    if (std::isfinite(exponent.alpha)) return exponent;
    fail(ErrorKind::numeric, "all eigenvalues of a tail are equal: it follows no power law");
  }
  const double edge = peak_edge(ascending);
  const double lower = tail == TailStart::peak_log ? std::log10(kPeakLower * edge) : kPeakLower * edge,
               upper = kPeakUpper * edge;
  Exponent best{.distance = 1};
  for (std::size_t i = 0; i + 1 < ascending.size() && ascending[i] <= upper; ++i) {
    if (ascending[i] < lower) continue;
    if (const Exponent exponent = hill(ascending, i); exponent.distance < best.distance) best = exponent;
  }
  if (best.tail == 0) fail(ErrorKind::numeric, "no tail near the peak of a spectrum follows a power law");
  return best;
}

}  // namespace streamline
