// SPDX-License-Identifier: Apache-2.0
// What the tests of surgery share: checkpoints on disk, and what came out.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "heal/pico.h"
#include "streamline/arch/names.h"
#include "streamline/surgery/apply.h"
#include "support/core/expect.h"
#include "support/core/temporary_directory.h"
#include "support/torch/reference.h"

namespace streamline::test {

// The same weights in another type, still in memory; config.json says so.
inline Model in_dtype(const Model& model, DType dtype, const std::string& name, Placement placement = {}) {
  std::vector<TensorHeader> headers;
  std::string body;
  for (const TensorInfo& tensor : model.checkpoint().tensors()) {
    const auto bytes = model.checkpoint().bytes(tensor);
    auto value = torch::empty(tensor.shape, scalar_type(tensor.dtype));
    std::copy(bytes.begin(), bytes.end(), static_cast<std::byte*>(value.data_ptr()));
    value = value.to(scalar_type(dtype));
    headers.push_back({tensor.name, dtype, tensor.shape});
    body.append(static_cast<const char*>(value.data_ptr()), value.nbytes());
  }
  Json config = model.checkpoint().config();
  config["torch_dtype"] = name;
  auto files = memory_files("pico", {{"config.json", dump_json(config)},
                                     {"model.safetensors", safetensors_header(headers, {{"format", "pt"}}) + body}});
  return Model::open(Checkpoint::open(std::move(files)), placement);
}

// The model's files in a directory, with more beside them.
inline void write_files(const Model& model, const std::filesystem::path& directory,
                        const std::map<std::string, std::string>& more = {}) {
  std::filesystem::create_directories(directory);
  const FileSet& files = model.checkpoint().files();
  for (const std::string& name : files.names()) write_text(directory / name, files.open(name).text());
  for (const auto& [name, text] : more) write_text(directory / name, text);
}

inline Model open_model(const std::filesystem::path& directory, Placement placement = {}) {
  return Model::open(Checkpoint::open(directory), placement);
}

inline std::string tensor_bytes(const Checkpoint& checkpoint, const std::string& name) {
  const auto bytes = checkpoint.bytes(checkpoint.at(name));
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Every file below a directory by its relative name.
inline std::map<std::string, std::string> contents(const std::filesystem::path& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file())
      files[std::filesystem::relative(entry.path(), directory).string()] = read_text(entry.path());
  }
  return files;
}

inline std::set<std::int64_t> layer_indices(const Model& model) {
  std::set<std::int64_t> indices;
  for (const TensorInfo& tensor : model.checkpoint().tensors()) {
    if (const auto place = parse_layer_tensor(*model.config().family, tensor.name)) indices.insert(place->layer);
  }
  return indices;
}

// Surviving layer `to` of `result` holds the bytes of layer `from` of `source`, tensor for tensor.
inline void expect_same_layer(const Model& source, std::int64_t from, const Model& result, std::int64_t to) {
  std::int64_t compared = 0;
  for (const TensorInfo& tensor : source.checkpoint().tensors()) {
    const auto place = parse_layer_tensor(*source.config().family, tensor.name);
    if (!place || place->layer != from || is_ignored(*source.config().family, tensor.name)) continue;
    const std::string name = layer_tensor(*source.config().family, to, place->suffix);
    ASSERT_NE(result.checkpoint().find(name), nullptr) << name;
    EXPECT_EQ(result.checkpoint().at(name).dtype, tensor.dtype) << name;
    EXPECT_EQ(result.checkpoint().at(name).shape, tensor.shape) << name;
    EXPECT_EQ(tensor_bytes(result.checkpoint(), name), tensor_bytes(source.checkpoint(), tensor.name)) << name;
    ++compared;
  }
  EXPECT_GT(compared, 0);
}

inline torch::Tensor some_tokens(std::int64_t vocab, std::int64_t count = 32) {
  std::vector<std::int64_t> ids;
  Rng rng(3);
  for (std::int64_t i = 0; i < count; ++i)
    ids.push_back(static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(vocab))));
  return torch::tensor(ids, torch::kInt64).unsqueeze(0);
}

// Random weights for a layer of this shape; norms near one.
inline LayerWeights random_layer(const Config& config, const LayerConfig& layer, std::uint64_t seed) {
  LayerWeights weights{.config = layer, .tensors = {}};
  Rng rng(seed);
  for (const ExpectedTensor& expected : layer_tensors(config, layer, 0)) {
    const bool norm = expected.shape.size() == 1 && expected.part == Part::weight;
    auto value = torch::empty(expected.shape, torch::kFloat32);
    for (std::int64_t i = 0; i < value.numel(); ++i)
      value.data_ptr<float>()[i] = static_cast<float>((norm ? 1.0 : 0.0) + 0.1 * rng.normal());
    place(weights, expected.role, expected.part, expected.expert) = value;
  }
  return weights;
}

// max |a - b| / max |b|
inline double difference(const torch::Tensor& a, const torch::Tensor& b) {
  return ((a - b).abs().max() / b.abs().max()).item<double>();
}

}  // namespace streamline::test
