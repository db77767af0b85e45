// SPDX-License-Identifier: Apache-2.0
// Checkpoints of a few kilobytes, made in memory from a configuration and a seed.
#pragma once

#include <cmath>
#include <string>

#include "streamline/arch/expected_tensors.h"
#include "streamline/base/random.h"
#include "support/core/tensor_files.h"

namespace streamline::test {

// A configuration of the family with 4 layers (hidden 16, 4 heads, intermediate 24, vocabulary 32), its own keys set to
// values that matter. Give more keys to change it.
inline Json pico_config(const std::string& family, const Json& changes = Json::object()) {
  Json config = {{"architectures", {"PicoForCausalLM"}},
                 {"model_type", family},
                 {"vocab_size", 32},
                 {"hidden_size", 16},
                 {"num_hidden_layers", 4},
                 {"num_attention_heads", 4},
                 {"bos_token_id", 1},
                 {"eos_token_id", 2},
                 {"max_position_embeddings", 64},
                 {"torch_dtype", "float32"},
                 {"tie_word_embeddings", false}};
  if (family == "opt") {
    config.update({{"ffn_dim", 24}, {"activation_function", "relu"}, {"word_embed_proj_dim", 16}});
  } else {
    config.update(
        {{"intermediate_size", 24}, {"num_key_value_heads", 2}, {"hidden_act", "silu"}, {"rms_norm_eps", 1e-5}});
    config.update({{"rope_theta", 10000.0}, {"rope_scaling", nullptr}});
  }
  if (family == "mistral") config.update({{"sliding_window", 8}, {"head_dim", 6}});
  if (family == "qwen2" || family == "qwen3")
    config.update({{"use_sliding_window", true}, {"sliding_window", 8}, {"max_window_layers", 2}});
  if (family == "qwen3") config.update({{"head_dim", 6}});
  if (changes.is_object()) config.update(changes);  // {} makes a null
  return config;
}

// Weights spread around 0 (projections, scaled by their width), around 1 (norms).
inline TestTensor random_tensor(const ExpectedTensor& expected, DType dtype, Rng& rng) {
  TestTensor tensor{{expected.name, dtype, expected.shape}, {}};
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
