// SPDX-License-Identifier: Apache-2.0
// Checkpoints of a few kilobytes, made in memory from a configuration and a seed.
#pragma once

#include <cmath>
#include <string>

#include "streamline/arch/expected_tensors.h"
#include "streamline/base/random.h"
#include "support/core/tensor_files.h"

namespace streamline::test {

inline void set_key(Json& config, std::string_view key, const Json& value) {
  if (!key.empty()) config[std::string(key)] = value;
}

// An entry of DeciLM's `block_configs`; no group, or no factor: that half is not there.
inline Json block(const Json& heads_in_group, const Json& ffn_mult) {
  return {{"attention", {{"n_heads_in_group", heads_in_group}, {"no_op", heads_in_group.is_null()}}},
          {"ffn", {{"ffn_mult", ffn_mult}, {"no_op", ffn_mult.is_null()}}}};
}

// What a family's own traits need in a configuration of this size.
inline void set_traits(const Family& family, Json& config) {
  const Traits& traits = family.traits;
  set_key(config, family.keys.rotary_share, 0.5);
  set_key(config, family.keys.window_period, 3);
  set_key(config, traits.normalised_head.key, 0);
  set_key(config, traits.scale.attention_root.key, 5);
  set_key(config, traits.scale.embedding.key, 3);
  set_key(config, traits.scale.residual.key, 0.5);
  set_key(config, traits.scale.logits_divisor.key, 2);
  if (traits.window == WindowRule::chunks_if_rotated)
    config["attention_chunk_size"] = 8;
  else if (traits.window != WindowRule::none)
    config["sliding_window"] = 8;
  if (traits.query_temperature) config.update({{"floor_scale", 4}, {"attn_scale", 0.5}});
  if (traits.rope == RopeRule::listed) config["no_rope_layers"] = {1, 0, 1, 1};
  // At a hidden size of 16 widths of 256, 512, 256 and, rounded up, 256.
  const Json blocks = {block(2, 24.0), block(1, 48.0), block(4, 24), block(2, 12.0)};
  const std::size_t layers = traits.block_configs ? config.at(std::string(family.keys.layers)).get<std::size_t>() : 0;
  for (std::size_t i = 0; i < layers; ++i) config["block_configs"].push_back(blocks[i % blocks.size()]);
  for (const RequiredValue& required : family.required)
    if (required.needed) set_key(config, required.key, required.allowed.front());
  if (!family.experts) return;
  const ExpertsRule& experts = *family.experts;
  set_key(config, experts.count_key, 4);
  set_key(config, experts.active_key, 2);
  set_key(config, experts.intermediate_key, 10);
  set_key(config, experts.shared_key, 6);
  if (experts.dense_layers) config["mlp_only_layers"] = {1};
  if (experts.sparse_listed) config["moe_layers"] = {0, 2, 3};
}

// A configuration of the family with 4 layers (hidden 16, 4 heads, intermediate 24, vocabulary 32), its own keys set to
// values that matter. Give more keys to change it.
inline Json pico_config(const std::string& name, const Json& changes = Json::object()) {
  const Family* found = nullptr;
  for (const Family* family : families())
    if (family->name == name) found = family;
  const ConfigKeys& keys = found->keys;
  Json config = {{"architectures", {"PicoForCausalLM"}}, {"model_type", found->model_types.front()}};
  set_key(config, keys.vocab, 32);
  set_key(config, keys.hidden, 16);
  set_key(config, keys.layers, 4);
  set_key(config, keys.heads, 4);
  config.update({{"bos_token_id", 1}, {"eos_token_id", 2}});
  set_key(config, keys.max_positions, 64);
  config.update({{"torch_dtype", "float32"}, {"tie_word_embeddings", false}});
  set_key(config, keys.intermediate, 24);
  set_key(config, keys.kv_heads, 2);
  set_key(config, keys.activation, std::string(found->defaults.activation));
  set_key(config, keys.norm_epsilon, 1e-5);
  set_key(config, keys.embedding_width, 16);
  if (found->defaults.head_dim) set_key(config, keys.head_dim, keys.rotary_share.empty() ? 6 : 8);
  if (found->traits.position == Position::rope) {
    set_key(config, keys.rope_theta, 10000.0);
    config["rope_scaling"] = nullptr;
  }
  set_traits(*found, config);
  if (name == "mistral") config["head_dim"] = 6;
  if (found->traits.window == WindowRule::from_max_window_layers)
    config.update({{"use_sliding_window", true}, {"max_window_layers", 2}});
  if (changes.is_object()) config.update(changes);  // {} makes a null
  return config;
}

// Weights spread around 0 (projections, scaled by their width), around 1 (norms).
inline TestTensor random_tensor(const ExpectedTensor& expected, DType dtype, Rng& rng) {
  TestTensor tensor{{expected.name, dtype, expected.stored_shape()}, {}};
  const bool norm = expected.shape.size() == 1 && expected.part == Part::weight;
  const double scale = norm ? 0.1 : 0.8 / std::sqrt(static_cast<double>(expected.shape.back()));
  for (std::int64_t i = 0; i < expected.elements(); ++i)
    tensor.data += element(dtype, static_cast<float>((norm ? 1 : 0) + scale * rng.normal()));
  return tensor;
}

inline std::vector<TestTensor> random_tensors(const Json& config, std::uint64_t seed = 0, DType dtype = DType::f32) {
  Rng rng(seed);
  std::vector<TestTensor> tensors;
  for (const ExpectedTensor& expected : expected_tensors(config_from_json(config, "config.json")))
    tensors.push_back(random_tensor(expected, dtype, rng));
  return tensors;
}

inline std::map<std::string, std::string> checkpoint_files(const Json& config, const std::vector<TestTensor>& tensors) {
  return {{"config.json", dump_json(config)}, {"model.safetensors", safetensors_file(tensors)}};
}

inline std::shared_ptr<const Checkpoint> pico_checkpoint(const Json& config, std::uint64_t seed = 0,
                                                         DType dtype = DType::f32) {
  return Checkpoint::open(memory_files("pico", checkpoint_files(config, random_tensors(config, seed, dtype))));
}

}  // namespace streamline::test
