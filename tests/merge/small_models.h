// SPDX-License-Identifier: Apache-2.0
// What the tests of merging share: tensors of a few numbers, small checkpoints of one base.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "streamline/arch/config.h"
#include "streamline/merge/merge_plan.h"
#include "support/core/expect.h"
#include "support/core/pico_checkpoint.h"

namespace streamline::test {

// Thousands are a matrix, which is computed in blocks of its rows.
inline std::vector<std::int64_t> shape_of(std::size_t count) {
  const auto elements = static_cast<std::int64_t>(count);
  return elements % 1000 == 0 ? std::vector<std::int64_t>{elements / 1000, 1000} : std::vector<std::int64_t>{elements};
}

// A checkpoint of one tensor "w", which an operand may be made of.
inline merge::Stored stored_values(const std::vector<float>& values, DType dtype = DType::f32) {
  TestTensor tensor{{"w", dtype, shape_of(values.size())}, {}};
  for (const float value : values) tensor.data += element(dtype, value);
  const auto checkpoint = Checkpoint::open(
      memory_files("numbers", {{"config.json", "{}"}, {"model.safetensors", safetensors_file({tensor})}}));
  return {checkpoint, checkpoint->find("w")};
}

inline std::vector<float> floats(const Blob& blob) {
  std::vector<float> values(blob.bytes.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), blob.bytes.data(), blob.bytes.size());
  return values;
}

// Task vectors beyond a base, merged by a rule; weights 1, nothing left out.
inline merge::TensorMerge merging(const char* rule, const std::vector<float>& base,
                                  const std::vector<std::vector<float>>& vectors) {
  const merge::Rule& found = merge::find_rule(rule);
  merge::TensorMerge merge{
      .header = {"w", DType::f32, shape_of(base.size())}, .base = stored_values(base), .rule = &found};
  for (const std::vector<float>& vector : vectors) {
    std::vector<float> tuned = base;
    for (std::size_t i = 0; i < tuned.size(); ++i) tuned[i] += vector[i];
    merge.operands.push_back({.stored = stored_values(tuned)});
    merge.parameters.weights.push_back(1);
    merge.parameters.densities.push_back(1);
  }
  merge.parameters.normalise = found.normalise;
  return merge;
}

// A pico model under a name; the same configuration and another seed make a model of the same base.
inline merge::Source pico_source(const std::string& name, const Json& config, std::uint64_t seed,
                                 DType dtype = DType::f32) {
  auto files = checkpoint_files(config, random_tensors(config, seed, dtype));
  return merge::make_source(name, Checkpoint::open(memory_files(name, files)));
}

inline std::function<merge::Parameters(const merge::Place&)> constant(const merge::Rule& rule,
                                                                      std::vector<double> weights = {}) {
  return [&rule, weights](const merge::Place& place) {
    merge::Parameters parameters{.weights = weights, .densities = std::vector<double>(place.operands.size(), 1)};
    parameters.weights.resize(place.operands.size(), 1);
    parameters.normalise = rule.normalise;
    return parameters;
  };
}

// The models after the first merged on the first.
inline merge::Request request_on_first(const char* rule, std::vector<merge::Source> models,
                                       std::vector<double> weights = {}) {
  merge::Request request{.rule = &merge::find_rule(rule), .models = std::move(models), .slices = {}};
  std::vector<std::size_t> operands;
  for (std::size_t i = 1; i < request.models.size(); ++i) operands.push_back(i);
  request.slices = merge::whole_models(request.models, operands, 0);
  request.parameters = constant(*request.rule, std::move(weights));
  return request;
}

}  // namespace streamline::test
