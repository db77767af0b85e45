// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/spectra.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"

namespace streamline {
namespace {

// Which matrix it is; not yet what its spectrum says.
MatrixSpectrum spectrum_of(const torch::Tensor& matrix, Role role, std::int64_t expert, std::int64_t layer,
                           const SpectraOptions& options) {
  MatrixSpectrum result{.layer = layer, .role = role, .expert = expert};
  result.rows = matrix.size(0), result.columns = matrix.size(1);
  result.sampled = std::min(result.rows, result.columns) > options.largest_side;
  return result;
}

void measure(const torch::Tensor& matrix, const SpectraOptions& options, MatrixSpectrum& result) {
  try {
    const std::vector<double> values = eigenvalues(matrix, options.largest_side, options.seed);
    result.exponent = tail_exponent(values, options.tail);
    result.largest = values.back();
    result.stable_rank = std::accumulate(values.begin(), values.end(), 0.0) / values.back();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::numeric) throw;
    fail(ErrorKind::numeric, "layer ", result.layer, ", ", role_name(result.role),
         result.expert < 0 ? "" : " of expert " + std::to_string(result.expert), ": ", error.what());
  }
}

// Each is of one rank, and 0 elsewhere.
void bring_together(const Ranks& ranks, std::vector<MatrixSpectrum>& all) {
  std::vector<double> row;
  for (const MatrixSpectrum& one : all)
    row.insert(row.end(), {one.exponent.alpha, one.exponent.distance, one.exponent.start,
                           static_cast<double>(one.exponent.tail), one.largest, one.stable_rank});
  ranks.sum(row);
  auto next = row.begin();
  for (MatrixSpectrum& one : all) {
    one.exponent = {.alpha = next[0], .distance = next[1], .start = next[2], .tail = std::llround(next[3])};
    one.largest = next[4];
    one.stable_rank = next[5];
    next += 6;
  }
}

}  // namespace

std::vector<MatrixSpectrum> spectra(const Model& model, const SpectraOptions& options) {
  const torch::NoGradGuard no_grad;
  const Ranks& ranks = model.placement().ranks;
  std::vector<MatrixSpectrum> all;
  const auto add = [&](const torch::Tensor& matrix, Role role, std::int64_t expert, std::int64_t layer) {
    all.push_back(spectrum_of(matrix, role, expert, layer, options));
    if (ranks.takes(std::ssize(all))) measure(matrix, options, all.back());
  };
  std::optional<Progress> progress;
  if (options.progress) progress.emplace("spectra", model.layer_count(), "layers");
  for (std::int64_t layer = 0; layer < model.layer_count(); ++layer) {
    for (const PlacedTensor& place : placed_tensors(model.layer(layer, Model::Use::once))) {
      check_interrupted();
      if (place.part != Part::weight || !is_measured(place.role)) continue;
      if (place.value.dim() == 2) add(place.value, place.role, place.expert, layer);
      for (std::int64_t i = 0; place.value.dim() == 3 && i < place.value.size(0); ++i)
        add(place.value[i], place.role, i, layer);
    }
    if (progress) progress->advance(1);
  }
  bring_together(ranks, all);
  return all;
}

namespace {

constexpr double kApart = 0.25;           // of the range of all, which the others fill
constexpr std::size_t kFewestLayers = 5;  // of fewer, some always stands apart

// Whether sum of (x - mean)^2 / error^2 is below the 95 % point of chi squared (by Wilson and Hilferty, 1931).
bool differ_by_chance(const std::vector<double>& exponents, const std::vector<double>& errors) {
  if (exponents.size() < 2 || errors.size() != exponents.size() ||
      std::ranges::any_of(errors, [](double error) { return !(error > 0); }))
    return false;
  double weights = 0, mean = 0, sum = 0;
  for (std::size_t i = 0; i < exponents.size(); ++i) {
    const double weight = 1 / (errors[i] * errors[i]);
    weights += weight;
    mean += weight * (exponents[i] - mean) / weights;
  }
  for (std::size_t i = 0; i < exponents.size(); ++i) sum += std::pow((exponents[i] - mean) / errors[i], 2);
  const double freedom = static_cast<double>(exponents.size() - 1), part = 2 / (9 * freedom);
  return sum < freedom * std::pow(1 - part + 1.645 * std::sqrt(part), 3);
}

// The layer without which the others fill but a small part of the range.
std::optional<std::size_t> layer_apart(const std::vector<double>& exponents) {
  if (exponents.size() < kFewestLayers) return std::nullopt;
  std::vector<double> sorted = exponents;
  std::ranges::sort(sorted);
  const double range = sorted.back() - sorted.front();
  const auto place = [&](double value) {
    return static_cast<std::size_t>(std::ranges::find(exponents, value) - exponents.begin());
  };
  if (sorted[sorted.size() - 2] - sorted.front() < kApart * range) return place(sorted.back());
  if (sorted.back() - sorted[1] < kApart * range) return place(sorted.front());
  return std::nullopt;
}

}  // namespace

std::vector<double> layer_exponents(const std::vector<MatrixSpectrum>& spectra, std::int64_t layers) {
  std::vector<double> sums(static_cast<std::size_t>(layers), 0), counts(static_cast<std::size_t>(layers), 0);
  for (const MatrixSpectrum& spectrum : spectra) {
    sums[static_cast<std::size_t>(spectrum.layer)] += spectrum.exponent.alpha;
    ++counts[static_cast<std::size_t>(spectrum.layer)];
  }
  for (std::size_t i = 0; i < sums.size(); ++i) {
    if (counts[i] == 0) fail(ErrorKind::unsupported, "layer ", i, " has no matrices to measure");
    sums[i] /= counts[i];
  }
  return sums;
}

std::vector<double> layer_errors(const std::vector<MatrixSpectrum>& spectra, std::int64_t layers) {
  std::vector<double> errors(static_cast<std::size_t>(layers), 0), counts(static_cast<std::size_t>(layers), 0);
  for (const MatrixSpectrum& spectrum : spectra) {
    const auto layer = static_cast<std::size_t>(spectrum.layer);
    errors[layer] += std::pow(spectrum.exponent.alpha - 1, 2) / static_cast<double>(spectrum.exponent.tail);
    ++counts[layer];
  }
  for (std::size_t i = 0; i < errors.size(); ++i) errors[i] = std::sqrt(errors[i]) / std::max(counts[i], 1.0);
  return errors;
}

std::string doubt_about_exponents(const std::vector<double>& exponents, const std::vector<double>& errors,
                                  const std::vector<std::int64_t>& layers) {
  if (differ_by_chance(exponents, errors))
    return "the exponents of the layers' spectra differ by no more than their standard errors, so that the shares of "
           "the layers are chance";
  const auto apart = layer_apart(exponents);
  if (!apart) return "";
  std::vector<double> others = exponents;
  others.erase(others.begin() + static_cast<std::ptrdiff_t>(*apart));
  const auto [low, high] = std::ranges::minmax(others);
  const bool above = exponents[*apart] > high;
  const std::int64_t layer = layers.empty() ? static_cast<std::int64_t>(*apart) : layers[*apart];
  return "layer " + std::to_string(layer) + " alone decides the shares: its exponent is " +
         fixed(exponents[*apart], 2) + ", those of the others lie between " + fixed(low, 2) + " and " + fixed(high, 2) +
         ", so that it loses " + (above ? "more" : "less") + " and they nearly the same";
}

bool is_measured(Role role) { return !is_norm_role(role) && role != Role::router && role != Role::shared_router; }

}  // namespace streamline
