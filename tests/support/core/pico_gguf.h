// SPDX-License-Identifier: Apache-2.0
// The GGUF twin of a pico checkpoint: the same float32 weights, as llama.cpp's converter would store them.
#pragma once

#include "streamline/arch/gguf_names.h"
#include "streamline/arch/names.h"
#include "streamline/arch/open_checkpoint.h"
#include "support/core/gguf_files.h"
#include "support/core/pico_checkpoint.h"

namespace streamline::test {

// Families whose GGUF files pico_gguf() can make; the others are written by this program and read back (GgufExport).
inline bool has_pico_gguf(const Family& family) {
  return find_gguf_family(family.gguf.arch, false) == &family && family.traits.norm == Norm::rms &&
         family.keys.rotary_share.empty() && !family.traits.block_configs;
}

// A pico configuration that says nothing that GGUF cannot: periods and the like are the family's.
inline Json gguf_pico_config(const Family& family) {
  Json config = pico_config(std::string(family.name), {{"use_sliding_window", false}});
  for (const std::string_view key : {family.keys.window_period, std::string_view("no_rope_layers")})
    config.erase(std::string(key));
  if (!family.traits.scale.attention_root.key.empty())
    set_key(config, family.traits.scale.attention_root.key, config.at(std::string(family.keys.head_dim)));
  return config;
}

inline std::vector<std::string> pico_gguf_metadata(const Json& config) {
  const Config resolved = config_from_json(config, "config.json");
  const Family& family = *resolved.family;
  const AttentionConfig& attention = *resolved.layers.front().attention;
  const std::string arch = std::string(family.gguf.arch) + ".";
  const auto count = [&](const char* name, std::int64_t value) {
    return u32(arch + name, static_cast<std::uint32_t>(value));
  };
  std::vector<std::string> entries = {
      text("general.architecture", std::string(family.gguf.arch)),
      count("context_length", resolved.max_positions),
      count("embedding_length", resolved.hidden),
      count("block_count", resolved.layer_count()),
      count("feed_forward_length", resolved.layers.front().mlp->intermediate),
      count("attention.head_count", attention.heads),
      count("attention.head_count_kv", attention.kv_heads),
      count("attention.key_length", attention.head_dim),
      count("attention.value_length", attention.head_dim),
      count("rope.dimension_count", attention.head_dim),
      f32(arch + "rope.freq_base", static_cast<float>(resolved.rope.theta)),
      f32(arch + "attention.layer_norm_rms_epsilon", static_cast<float>(resolved.norm_epsilon)),
      u32("tokenizer.ggml.bos_token_id", 1),
      u32("tokenizer.ggml.eos_token_id", 2)};
  if (attention.window) entries.push_back(count("attention.sliding_window", *attention.window));
  const auto scale = [&](const NumberRule& rule, const char* name) {
    const auto found = rule.key.empty() ? config.end() : config.find(std::string(rule.key));
    if (found != config.end()) entries.push_back(f32(arch + name, found->get<float>()));
  };
  scale(family.traits.scale.embedding, "embedding_scale");
  scale(family.traits.scale.residual, "residual_scale");
  scale(family.traits.scale.attention, "attention.scale");
  scale(family.traits.scale.logits_divisor, "logit_scale");
  return entries;
}

// Row j of a head's first half, then row j of its second, and so on: `heads` times.
inline std::string interleaved(const std::string& data, std::int64_t rows, std::int64_t heads) {
  const std::size_t bytes = data.size() / static_cast<std::size_t>(rows);
  const std::int64_t half = rows / heads / 2;
  std::string result;
  for (std::int64_t head = 0; head < heads; ++head)
    for (std::int64_t j = 0; j < half; ++j)
      for (std::int64_t side = 0; side < 2; ++side)
        result += data.substr(static_cast<std::size_t>((head * 2 + side) * half + j) * bytes, bytes);
  return result;
}

// Numbers with `offset` added to each.
inline std::string shifted(std::string data, double offset) {
  for (std::size_t i = 0; i < data.size(); i += sizeof(float)) {
    float value;
    std::memcpy(&value, data.data() + i, sizeof value);
    value += static_cast<float>(offset);
    std::memcpy(data.data() + i, &value, sizeof value);
  }
  return data;
}

struct GgufTensors {
  std::vector<std::string> descriptions;
  std::string data;

  void add(const std::string& name, const std::vector<std::int64_t>& shape, const std::string& bytes) {
    descriptions.push_back(gguf_tensor(name, {shape.rbegin(), shape.rend()}, 0, data.size()));
    data = padded(data + bytes);
  }
};

inline GgufTensors pico_gguf_tensors(const Json& config, std::uint64_t seed = 0) {
  const Config resolved = config_from_json(config, "config.json");
  const AttentionConfig& attention = *resolved.layers.front().attention;
  const std::vector<TestTensor> tensors = random_tensors(config, seed);
  const std::vector<ExpectedTensor> expected = expected_tensors(resolved);
  GgufTensors result;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const ExpectedTensor& role = expected[i];
    std::string data = tensors[i].data;
    if (resolved.family->gguf.interleaved_qk && (role.role == Role::q || role.role == Role::k))
      data = interleaved(data, role.shape[0], role.role == Role::q ? attention.heads : attention.kv_heads);
    if (is_norm_role(role.role)) data = shifted(data, resolved.family->traits.norm_offset);
    result.add(gguf_tensor_name(*resolved.family, role.layer, role.role, role.part), role.shape, data);
  }
  return result;
}

inline std::string pico_gguf(const Json& config, std::uint64_t seed = 0) {
  const GgufTensors tensors = pico_gguf_tensors(config, seed);
  return gguf_file(pico_gguf_metadata(config), tensors.descriptions, tensors.data);
}

inline std::shared_ptr<const Checkpoint> open_pico_gguf(const std::string& file) {
  return open_gguf_checkpoint(memory_files("dir", {{"pico.gguf", file}}), "pico.gguf");
}

}  // namespace streamline::test
