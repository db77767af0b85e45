// SPDX-License-Identifier: Apache-2.0
// Tiny models in memory, made from a configuration and a seed, for the healing tests.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "streamline/arch/expected_tensors.h"
#include "streamline/base/random.h"
#include "streamline/engine/memory.h"
#include "streamline/engine/model.h"
#include "streamline/io/safetensors.h"
#include "streamline/text/corpus.h"

namespace streamline::test {

// The specification's tiny model: d 64, f 176, 4 heads, 2 KV heads, vocabulary 256, untied.
inline Json tiny_llama(std::int64_t layers = 6) {
  return {{"model_type", "llama"},
          {"hidden_size", 64},
          {"intermediate_size", 176},
          {"num_hidden_layers", layers},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 16},
          {"vocab_size", 256},
          {"max_position_embeddings", 128},
          {"rms_norm_eps", 1e-5},
          {"tie_word_embeddings", false},
          {"torch_dtype", "float32"}};
}

inline Json tiny_opt() {
  return {{"model_type", "opt"},
          {"hidden_size", 64},
          {"word_embed_proj_dim", 64},
          {"ffn_dim", 128},
          {"num_hidden_layers", 4},
          {"num_attention_heads", 4},
          {"activation_function", "relu"},
          {"do_layer_norm_before", true},
          {"vocab_size", 256},
          {"max_position_embeddings", 128},
          {"torch_dtype", "float32"}};
}

inline Json tiny_qwen3() {
  Json json = tiny_llama(4);
  json["model_type"] = "qwen3";
  return json;
}

// Changes the values of one tensor before the model is opened.
using Edit = std::function<void(const ExpectedTensor&, std::vector<float>&)>;

// Norms near 1, everything else N(0, deviation), embeddings N(0, 1).
inline Model pico_model(const Json& json, std::uint64_t seed, const Edit& edit = {}, Placement placement = {},
                        double deviation = 0.08) {
  const Config config = config_from_json(json, "pico");
  Rng rng(seed);
  std::vector<TensorHeader> headers;
  std::string body;
  for (const ExpectedTensor& tensor : expected_tensors(config)) {
    std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
    const bool is_norm = tensor.shape.size() == 1 && tensor.part == Part::weight;
    const double scale = tensor.role == Role::token_embedding ? 1.0 : deviation;
    for (float& value : values) value = static_cast<float>((is_norm ? 1.0 : 0.0) + scale * rng.normal());
    if (edit) edit(tensor, values);
    headers.push_back({tensor.name, DType::f32, tensor.stored_shape()});
    body.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  }
  auto files = memory_files("pico", {{"config.json", dump_json(json)},
                                     {"model.safetensors", safetensors_header(headers, {{"format", "pt"}}) + body}});
  return Model::open(Checkpoint::open(std::move(files)), placement);
}

// The same model with so many bytes to work with.
inline Model within(const Model& model, std::uint64_t bytes) {
  constexpr std::uint64_t kEnough = 1'000'000'000;
  const std::uint64_t program = kEnough - working_memory({.memory = kEnough});
  return Model::open(model.shared_checkpoint(), {.memory = program + bytes});
}

// An identity layer: both halves write nothing.
inline bool writes_to_stream(const ExpectedTensor& tensor) {
  return tensor.role == Role::o || tensor.role == Role::down;
}

inline TokenBatches random_tokens(std::int64_t sequences, std::int64_t length, std::uint64_t seed,
                                  std::uint64_t vocab = 256) {
  TokenBatches batches;
  Rng rng(seed);
  for (std::int64_t i = 0; i < sequences; ++i) {
    auto& sequence = batches.sequences.emplace_back();
    for (std::int64_t t = 0; t < length; ++t) sequence.push_back(static_cast<TokenId>(rng.below(vocab)));
  }
  return batches;
}

inline bool same(const LayerWeights& a, const LayerWeights& b) {
  const auto left = a.all(), right = b.all();
  if (left.size() != right.size()) return false;
  for (std::size_t i = 0; i < left.size(); ++i)
    if (!torch::equal(left[i], right[i])) return false;
  return true;
}

}  // namespace streamline::test
