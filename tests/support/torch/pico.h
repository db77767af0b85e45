// SPDX-License-Identifier: Apache-2.0
// Pico models: checkpoints of any family, a few thousand random weights from a seed, in memory.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "streamline/engine/model.h"

namespace streamline::test {

struct PicoOptions {
  std::int64_t layers = 4, hidden = 32, heads = 4, kv_heads = 2, head_dim = 8, intermediate = 48;
  std::int64_t vocab = 64, max_positions = 64;
  bool biases = false;  // wherever a key of the family's configuration asks for them
  DType dtype = DType::f32;
  std::uint64_t seed = 1;
  Json extra = Json::object();  // further keys of config.json
};

Json pico_config(const Family& family, const PicoOptions& options);

// Tensor values by name before they are stored; tests change some of them.
using PicoTensors = std::map<std::string, torch::Tensor>;
PicoTensors pico_tensors(const Family& family, const PicoOptions& options);

std::shared_ptr<const FileSet> pico_files(const Json& config, const PicoTensors& tensors, DType dtype);
std::shared_ptr<const Checkpoint> pico_checkpoint(const Family& family, const PicoOptions& options);
Model pico_model(const Family& family, const PicoOptions& options, Placement placement = {});
const Family& family_named(std::string_view name);

// Random ids below `vocab`, [batch, seq].
torch::Tensor pico_ids(std::int64_t batch, std::int64_t seq, std::int64_t vocab, std::uint64_t seed = 7);
// Standard normal values from our own generator, fp32.
torch::Tensor random_tensor(std::vector<std::int64_t> shape, std::uint64_t seed, double scale = 1);

}  // namespace streamline::test
