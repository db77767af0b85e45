// SPDX-License-Identifier: Apache-2.0
// The resolved numbers of one model: config.json in either spelling, with the family's defaults, cross-checked
// against the tensors that are there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "streamline/arch/family.h"
#include "streamline/arch/role.h"
#include "streamline/base/json.h"
#include "streamline/io/checkpoint.h"

namespace streamline {

// Above these a configuration is taken for damaged; below them no count of parameters reaches 2^63.
constexpr std::int64_t kMaxDimension = std::int64_t{1} << 22;
constexpr std::int64_t kMaxPositions = std::int64_t{1} << 30;
constexpr std::int64_t kMaxLayers = 10'000;

enum class RopeScaling { none, linear, dynamic, llama3 };

struct RopeConfig {
  double theta = 10000;
  RopeScaling scaling = RopeScaling::none;
  double factor = 1;
  double low_frequency_factor = 1, high_frequency_factor = 4;  // llama3
  std::int64_t original_max_positions = 0;                     // llama3, dynamic
};

struct AttentionConfig {
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
  std::optional<std::int64_t> window = {};  // a token sees itself and window - 1 tokens before it
  bool qk_norm = false;                     // RMSNorm over head_dim of each q and k head before RoPE
  bool qkv_bias = false, o_bias = false;    // as the tensors show
};

struct MlpConfig {
  std::int64_t intermediate = 0;
  bool gated = true;  // down(act(gate x) * up x), else down(act(up x))
  Activation activation = Activation::silu;
  bool norm = true;      // false: reads the residual stream itself (the paper's FFN)
  bool residual = true;  // false: its output is the new residual stream
  bool bias = false;     // on every matrix, as the tensors show
};

// One decoder layer; either half may be missing.
struct LayerConfig {
  std::optional<AttentionConfig> attention;
  std::optional<MlpConfig> mlp;
};

// Whether this is a layer as the families have them (both halves, normed, residual); others are stored as entries of
// the "streamline" extension of config.json.
bool is_ordinary(const LayerConfig& layer);

struct Config {
  const Family* family = nullptr;
  std::int64_t hidden = 0, vocab = 0, max_positions = 0;
  double norm_epsilon = 1e-6;
  bool tied_embeddings = false;
  RopeConfig rope;  // used when family->traits.position == Position::rope
  std::vector<LayerConfig> layers;
  std::string dtype;                     // "bfloat16", as the config says, else from the tensors
  std::optional<std::int64_t> bos, eos;  // first of a list
  Json json;                             // the source's config.json as read

  std::int64_t layer_count() const { return static_cast<std::int64_t>(layers.size()); }
};

// Errors: unsupported (unknown family, RoPE type, activation, quantised weights … each naming the key), mismatch
// (shapes that disagree with config.json, missing or surplus tensors of a layer, vocabulary larger than the embedding).
Config resolve_config(const Checkpoint& checkpoint);

// The same from config.json alone, without looking at tensors.
Config config_from_json(const Json& config, const std::string& where);

// The tensor of a role, or nullptr. layer < 0 for whole-model roles. The head of a model with tied embeddings is the
// token embedding when no head is stored.
const TensorInfo* find_tensor(const Checkpoint& checkpoint, const Config& config, std::int64_t layer, Role role,
                              Part part);

// Parameters (elements of weights and biases) of one layer and of everything, the latter counting a tied head once;
// buffers are not counted.
std::int64_t layer_parameters(const Config& config, const Checkpoint& checkpoint, std::int64_t layer);
std::int64_t total_parameters(const Checkpoint& checkpoint, const Config& config);

// The same from the configuration alone.
std::int64_t layer_parameters(const Config& config, const LayerConfig& layer);
std::int64_t total_parameters(const Config& config);

}  // namespace streamline
