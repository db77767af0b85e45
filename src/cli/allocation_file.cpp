// SPDX-License-Identifier: Apache-2.0
#include "allocation_file.h"

#include <cmath>

#include "streamline/arch/expected_tensors.h"
#include "streamline/base/error.h"
#include "streamline/base/file.h"

namespace streamline::cli {
namespace {

constexpr const char* kSpectraFormat = "streamline-spectra";

Json matrix_record(const MatrixSpectrum& spectrum) {
  Json row = {{"layer", spectrum.layer},
              {"matrix", role_name(spectrum.role)},
              {"shape", {spectrum.rows, spectrum.columns}},
              {"alpha", spectrum.exponent.alpha},
              {"distance", spectrum.exponent.distance},
              {"start", spectrum.exponent.start},
              {"tail", spectrum.exponent.tail},
              {"spectral_norm", std::sqrt(spectrum.largest)},
              {"stable_rank", spectrum.stable_rank}};
  if (spectrum.expert >= 0) row["expert"] = spectrum.expert;
  if (spectrum.sampled) row["sampled"] = true;
  return row;
}

AllocationOptions allocation_options(const SpreadOptions& options) {
  return {.ratio = options.ratio, .spread = options.spread, .cap = options.cap, .clip = options.clip};
}

}  // namespace

void check_spread(const SpreadOptions& options) { check_allocation(allocation_options(options)); }

std::vector<std::int64_t> layer_weights(const Config& config) {
  std::vector<std::int64_t> sizes;
  for (const LayerConfig& layer : config.layers) {
    std::int64_t size = 0;
    for (const ExpectedTensor& tensor : layer_tensors(config, layer, 0))
      if (tensor.part == Part::weight && tensor.shape.size() >= 2 && tensor.role != Role::router &&
          tensor.role != Role::shared_router)
        size += tensor.elements();
    sizes.push_back(size);
  }
  return sizes;
}

Allocation allocate_by_exponents(const Config& config, const std::vector<double>& exponents,
                                 const SpreadOptions& options) {
  const std::vector<std::int64_t> sizes = layer_weights(config);
  std::vector<AllocationPart> parts;
  for (std::size_t i = 0; i < sizes.size(); ++i) parts.push_back({.metric = exponents.at(i), .size = sizes[i]});
  return allocate(parts, allocation_options(options));
}

Json spectra_record(const Model& model, const SpreadOptions& options, std::uint64_t seed) {
  const std::vector<MatrixSpectrum> found = spectra(
      model, {.tail = parse_tail(options.tail), .largest_side = options.largest_side, .seed = seed, .progress = true});
  const std::vector<double> exponents = layer_exponents(found, model.layer_count());
  const std::vector<double> errors = layer_errors(found, model.layer_count());
  const Allocation allocation = allocate_by_exponents(model.config(), exponents, options);
  Json record = {{"format", kSpectraFormat}, {"version", 1}, {"digest", model.checkpoint().digest()}};
  record["tail"] = options.tail;
  record["ratio"] = options.ratio;
  record["spread"] = allocation.spread;
  record["largest_spread"] = std::isfinite(allocation.largest_spread) ? Json(allocation.largest_spread) : Json();
  record["layers"] = Json::array();
  for (std::size_t i = 0; i < exponents.size(); ++i)
    record["layers"].push_back(
        {{"layer", i}, {"alpha", exponents[i]}, {"standard_error", errors[i]}, {"ratio", allocation.ratios[i]}});
  record["matrices"] = Json::array();
  for (const MatrixSpectrum& spectrum : found) record["matrices"].push_back(matrix_record(spectrum));
  return record;
}

LayerExponents exponents_of(const Json& record) {
  LayerExponents exponents;
  for (const Json& row : record["layers"]) {
    exponents.values.push_back(row.at("alpha").get<double>());
    if (const Json error = row.value("standard_error", Json()); error.is_number()) exponents.errors.push_back(error);
  }
  return exponents;
}

LayerExponents read_exponents(const std::string& file, const Model& model) {
  const Json record = parse_json(read_text(file), file);
  if (!record.is_object() || record.value("format", Json()) != Json(kSpectraFormat) || !record.contains("layers") ||
      !record["layers"].is_array())
    fail(ErrorKind::format, file, ": is no file that `streamline spectra --out` wrote");
  if (record.value("digest", Json()) != Json(model.checkpoint().digest()))
    fail(ErrorKind::mismatch, file, ": has the spectra of another model");
  for (const Json& row : record["layers"]) {
    const auto alpha = row.is_object() ? json_number(row, "alpha", file) : std::nullopt;
    if (!alpha || !std::isfinite(*alpha)) fail(ErrorKind::format, file, ": a layer has no 'alpha'");
  }
  if (std::ssize(record["layers"]) != model.layer_count())
    fail(ErrorKind::mismatch, file, ": has ", record["layers"].size(), " layers, the model ", model.layer_count());
  return exponents_of(record);
}

}  // namespace streamline::cli
