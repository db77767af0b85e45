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

enum class RopeScaling { none, linear, dynamic, llama3, yarn, longrope };

struct RopeConfig {
  double theta = 10000;
  RopeScaling scaling = RopeScaling::none;
  double factor = 1;
  double low_frequency_factor = 1, high_frequency_factor = 4;  // llama3
  std::int64_t original_max_positions = 0;                     // llama3, dynamic, yarn, longrope
  double beta_fast = 32, beta_slow = 1;                        // yarn: turns over the original length
  bool truncate = true;                                        // yarn: the blended pairs are counted in whole ones
  double attention_factor = 1;                                 // yarn, longrope: the turned components are times this
  std::vector<double> short_factors = {},
                      long_factors = {};  // longrope, one a pair: up to the original length, and beyond
  double rotated_share = 1;               // of each head; its first components turn

  bool operator==(const RopeConfig&) const = default;
};

// Components of a head that turn.
std::int64_t rotary_dim(const RopeConfig& rope, std::int64_t head_dim);

// Which of a model's rotary embeddings a layer has.
enum class RopeUse { none, global, local };

// The query at position p is times 1 + scale * ln(1 + floor((p + 1) / floor)).
struct QueryTemperature {
  double scale = 0, floor = 1;

  bool operator==(const QueryTemperature&) const = default;
};

struct AttentionConfig {
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
  std::optional<std::int64_t> window = {};  // a token sees itself and window - 1 tokens before it
  std::optional<std::int64_t> chunk = {};   // a token sees no other chunk of so many positions than its own
  QkNorm qk_norm = QkNorm::none;            // RMSNorm of q and k before RoPE
  bool qkv_bias = false, o_bias = false;    // as the tensors show
  bool norm = true;                         // before the attention (after its sum: Residual::norm_after_sum)
  bool post_norm = false;                   // after it, before its sum with the residual stream
  QkvLayout layout = QkvLayout::apart;
  RopeUse rope = RopeUse::global;
  std::optional<double> scale = {};  // of the scores; else 1 / sqrt(head_dim)
  double softcap = 0;                // c tanh(score / c); 0: none
  std::optional<QueryTemperature> temperature = {};

  bool operator==(const AttentionConfig&) const = default;
};

// A sparse MLP: `active` of `count` networks of the MLP's shape compute each token.
struct ExpertsConfig {
  std::int64_t count = 0, active = 0;
  bool renormalised = false;  // the shares of the active ones add up to one
  std::int64_t shared = 0;    // width of one more that computes every token; 0: none
  bool shared_routed = true;  // its output is times a sigmoid of its own
  bool stacked = false;       // one tensor has the matrices of all
  bool scales_input = false;  // a share is the sigmoid of the expert's logit, and multiplies what the expert reads

  bool operator==(const ExpertsConfig&) const = default;
};

struct MlpConfig {
  std::int64_t intermediate = 0;  // of one expert, when sparse
  bool gated = true;              // down(act(gate x) * up x), else down(act(up x))
  Activation activation = Activation::silu;
  bool norm = true;          // false: reads the residual stream itself (the paper's FFN; norms after the block)
  bool residual = true;      // false: its output is the new residual stream
  bool bias = false;         // on every matrix, as the tensors show
  bool post_norm = false;    // after it, before its sum with the residual stream
  bool shared_norm = false;  // reads what the attention's norm gives (parallel halves with one norm)
  bool fused_gate = false;   // gate and up are one tensor, Role::gate_up
  std::optional<ExpertsConfig> experts = {};

  bool operator==(const MlpConfig&) const = default;
};

// One decoder layer; either half may be missing.
struct LayerConfig {
  std::optional<AttentionConfig> attention;
  std::optional<MlpConfig> mlp;
  Residual residual = Residual::sequential;
  bool partial = false;  // lacks a half that config.json says is not there, and is stored under the family's names

  bool whole() const { return attention && mlp; }
  bool operator==(const LayerConfig&) const = default;
};

// Whether this is a layer as the families have them: both halves, or what a format of their layers leaves of them
// (layer_shapes.h); others are stored as entries of the "streamline" extension of config.json.
bool is_ordinary(const LayerConfig& layer);

// Factors beside the plain arithmetic.
struct Scales {
  double embedding = 1;  // of the embeddings
  double residual = 1;   // of what a half adds to the residual stream
  double logits = 1;
  double logit_softcap = 0;  // c tanh(logit / c); 0: none

  bool operator==(const Scales&) const = default;
};

struct Config {
  const Family* family = nullptr;
  std::int64_t hidden = 0, vocab = 0, max_positions = 0;
  double norm_epsilon = 1e-6;
  bool tied_embeddings = false;
  RopeConfig rope;                       // used when family->traits.position == Position::rope
  std::optional<RopeConfig> local_rope;  // of layers with RopeUse::local
  std::vector<LayerConfig> layers;
  std::string dtype;                     // "bfloat16", as the config says, else from the tensors
  std::optional<std::int64_t> bos, eos;  // first of a list
  Json json;                             // the text model's keys of the source's config.json (multimodal.h)
  std::string text_key = {};             // where they lie in it: "/text_config"; empty: at the top
  Json whole = nullptr;                  // all of it, where the text model's are not
  bool multimodal = false;               // there are parts beside the text model
  std::int64_t embedding_width = 0;      // where it is not `hidden` the embeddings are projected; 0: hidden
  bool final_norm = true;
  bool normalised_head = false;  // the head's rows have length one when computed with
  Scales scale;

  std::int64_t layer_count() const { return static_cast<std::int64_t>(layers.size()); }
  bool projects_embeddings() const { return embedding_width != 0 && embedding_width != hidden; }
};

// Errors: unsupported (unknown family, RoPE type, activation, quantised weights … each naming the key), mismatch
// (shapes that disagree with config.json, missing or surplus tensors of a layer, vocabulary larger than the embedding).
Config resolve_config(const Checkpoint& checkpoint);

// The same from config.json alone, without looking at tensors or at how they are quantised.
Config config_from_json(const Json& config, const std::string& where);

// The tensor of a role as it is stored (is_transposed() says how), or nullptr. layer < 0 for whole-model roles;
// expert >= 0 for the gate, up and down of one expert. The head of a model with tied embeddings is the token embedding
// when no head is stored.
const TensorInfo* find_tensor(const Checkpoint& checkpoint, const Config& config, std::int64_t layer, Role role,
                              Part part, std::int64_t expert = -1);

// Whether the family stores this matrix [in, out].
bool is_transposed(const Config& config, std::int64_t layer, Role role, Part part);

// Parameters (elements of weights and biases) of one layer and of everything, the latter counting a tied head once;
// buffers are not counted.
std::int64_t layer_parameters(const Config& config, const Checkpoint& checkpoint, std::int64_t layer);
std::int64_t total_parameters(const Checkpoint& checkpoint, const Config& config);

// The same from the configuration alone.
std::int64_t layer_parameters(const Config& config, const LayerConfig& layer);
std::int64_t total_parameters(const Config& config);

}  // namespace streamline
