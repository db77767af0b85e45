// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/spectra.h"

#include <algorithm>
#include <numeric>

#include "streamline/arch/expected_tensors.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"

namespace streamline {
namespace {

bool is_measured(Role role) { return !is_norm_role(role) && role != Role::router && role != Role::shared_router; }

MatrixSpectrum measured_spectrum(const torch::Tensor& matrix, const PlacedTensor& place, std::int64_t layer,
                                 const SpectraOptions& options) {
  MatrixSpectrum result{.layer = layer, .role = place.role, .expert = place.expert};
  result.rows = matrix.size(0), result.columns = matrix.size(1);
  result.sampled = std::min(result.rows, result.columns) > options.largest_side;
  try {
    const std::vector<double> values = eigenvalues(matrix, options.largest_side, options.seed);
    result.exponent = tail_exponent(values, options.tail);
    result.largest = values.back();
    result.stable_rank = std::accumulate(values.begin(), values.end(), 0.0) / values.back();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::numeric) throw;
    fail(ErrorKind::numeric, "layer ", layer, ", ", role_name(place.role),
         place.expert < 0 ? "" : " of expert " + std::to_string(place.expert), ": ", error.what());
  }
  return result;
}

}  // namespace

std::vector<MatrixSpectrum> spectra(const Model& model, const SpectraOptions& options) {
  const torch::NoGradGuard no_grad;
  std::vector<MatrixSpectrum> all;
  std::optional<Progress> progress;
  if (options.progress) progress.emplace("spectra", model.layer_count(), "layers");
  for (std::int64_t layer = 0; layer < model.layer_count(); ++layer) {
    for (const PlacedTensor& place : placed_tensors(model.layer(layer, Model::Use::once))) {
      check_interrupted();
      if (place.part != Part::weight || !is_measured(place.role)) continue;
      if (place.value.dim() == 2) all.push_back(measured_spectrum(place.value, place, layer, options));
      for (std::int64_t i = 0; place.value.dim() == 3 && i < place.value.size(0); ++i)
        all.push_back(measured_spectrum(place.value[i], {place.role, place.part, i, {}}, layer, options));
    }
    if (progress) progress->advance(1);
  }
  return all;
}

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

std::vector<Role> matrix_roles(const LayerConfig& layer, const Config& config) {
  std::vector<Role> roles;
  for (const ExpectedTensor& tensor : layer_tensors(config, layer, 0))
    if (tensor.part == Part::weight && tensor.expert < 0 && tensor.shape.size() == 2 && is_measured(tensor.role))
      roles.push_back(tensor.role);
  return roles;
}

}  // namespace streamline
