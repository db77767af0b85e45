// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/gguf_metadata.h"

#include <cmath>
#include <string>

#include "streamline/arch/gguf_layout.h"
#include "streamline/arch/gguf_limits.h"
#include "streamline/arch/llama3_rope.h"

namespace streamline {
namespace {

// Keys under "<arch>.".
class Keys {
 public:
  Keys(std::string_view arch, GgufFields& fields) : prefix_(std::string(arch) + "."), fields_(fields) {}
  void u32(std::string_view name, std::int64_t value) { fields_.u32(prefix_ + std::string(name), value); }
  void f32(std::string_view name, double value) { fields_.f32(prefix_ + std::string(name), value); }
  void string(std::string_view name, std::string_view value) { fields_.string(prefix_ + std::string(name), value); }
  void i32s(std::string_view name, std::span<const std::int32_t> values) {
    fields_.i32s(prefix_ + std::string(name), values);
  }
  void boolean(std::string_view name, bool value) { fields_.boolean(prefix_ + std::string(name), value); }

 private:
  std::string prefix_;
  GgufFields& fields_;
};

// The MLP of a layer with experts; nullptr where none has any.
const MlpConfig* sparse_mlp(const Config& config) {
  for (const LayerConfig& layer : config.layers)
    if (layer.mlp && layer.mlp->experts) return &*layer.mlp;
  return nullptr;
}

// The width of the MLP of dense layers, which mixtures of experts state although they may have none.
std::int64_t feed_forward_length(const Config& config) {
  const MlpConfig& mlp = *config.layers.front().mlp;
  const Family& family = *config.family;
  if (!mlp.experts || family.experts->intermediate_key == family.keys.intermediate) return mlp.intermediate;
  return json_integer(config.json, family.keys.intermediate, "config.json").value_or(mlp.intermediate);
}

// Of layers that each have their own: no heads where there is no attention.
void add_sizes_by_layer(const Config& config, Keys& keys) {
  std::vector<std::int32_t> heads, kv_heads, widths;
  for (const LayerConfig& layer : config.layers) {
    heads.push_back(layer.attention ? static_cast<std::int32_t>(layer.attention->heads) : 0);
    kv_heads.push_back(layer.attention ? static_cast<std::int32_t>(layer.attention->kv_heads) : 0);
    widths.push_back(static_cast<std::int32_t>(gguf_stored_layer(layer, config).mlp->intermediate));
  }
  keys.i32s("feed_forward_length", widths);
  keys.i32s("attention.head_count", heads);
  keys.i32s("attention.head_count_kv", kv_heads);
}

void add_sizes(const Config& config, std::int64_t context, Keys& keys) {
  const AttentionConfig& attention = *config.layers.front().attention;
  keys.u32("block_count", config.layer_count());
  keys.u32("context_length", context);
  keys.u32("embedding_length", config.hidden);
  if (config.family->traits.block_configs) {
    add_sizes_by_layer(config, keys);
  } else {
    keys.u32("feed_forward_length", feed_forward_length(config));
    keys.u32("attention.head_count", attention.heads);
    keys.u32("attention.head_count_kv", attention.kv_heads);
  }
  keys.u32("attention.key_length", attention.head_dim);
  keys.u32("attention.value_length", attention.head_dim);
  keys.u32("vocab_size", config.vocab);
  const char* epsilon =
      config.family->traits.norm == Norm::rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon";
  keys.f32(epsilon, config.norm_epsilon);
  if (!config.family->traits.parallel.key.empty())
    keys.boolean("use_parallel_residual", config.layers.front().residual == Residual::parallel);
}

void add_rope(const Config& config, Keys& keys) {
  if (config.family->traits.position != Position::rope) return;
  const RopeConfig& rope = config.rope;
  keys.u32("rope.dimension_count", rotary_dim(rope, config.layers.front().attention->head_dim));
  keys.f32("rope.freq_base", rope.theta);
  if (config.local_rope) keys.f32("rope.freq_base_swa", config.local_rope->theta);
  if (rope.scaling == RopeScaling::linear || rope.scaling == RopeScaling::yarn) {
    keys.string("rope.scaling.type", rope.scaling == RopeScaling::linear ? "linear" : "yarn");
    keys.f32("rope.scaling.factor", rope.factor);
  }
  if (rope.scaling == RopeScaling::yarn) keys.u32("rope.scaling.original_context_length", rope.original_max_positions);
}

void add_windows(const Config& config, Keys& keys) {
  if (!config.family->gguf.windows) return;
  for (const LayerConfig& layer : config.layers)
    if (layer.attention->window) keys.u32("attention.sliding_window", *layer.attention->window);
}

void add_scales(const Config& config, Keys& keys) {
  const ScaleRules& rules = config.family->traits.scale;
  const AttentionConfig& attention = *config.layers.front().attention;
  if (!rules.embedding.key.empty()) keys.f32("embedding_scale", config.scale.embedding);
  if (!rules.residual.key.empty()) keys.f32("residual_scale", config.scale.residual);
  if (!rules.attention.key.empty())
    keys.f32("attention.scale", attention.scale.value_or(1 / std::sqrt(static_cast<double>(attention.head_dim))));
  if (!rules.logits.key.empty()) keys.f32("logit_scale", config.scale.logits);
  if (!rules.logits_divisor.key.empty()) keys.f32("logit_scale", 1 / config.scale.logits);
  if (attention.softcap != 0) keys.f32("attn_logit_softcapping", attention.softcap);
  if (!rules.logit_softcap.key.empty() && (config.scale.logit_softcap != 0 || attention.softcap != 0))
    keys.f32("final_logit_softcapping", config.scale.logit_softcap);
}

void add_experts(const Config& config, Keys& keys) {
  const MlpConfig* mlp = sparse_mlp(config);
  if (mlp == nullptr) return;
  keys.u32("expert_count", mlp->experts->count);
  keys.u32("expert_used_count", mlp->experts->active);
  if (config.family->experts->intermediate_key != config.family->keys.intermediate)
    keys.u32("expert_feed_forward_length", mlp->intermediate);
  if (mlp->experts->shared > 0) keys.u32("expert_shared_feed_forward_length", mlp->experts->shared);
  if (config.family->gguf.sparse_steps) keys.u32("interleave_moe_layer_step", sparse_step(config));
}

}  // namespace

void add_gguf_metadata(const Config& config, std::int64_t context, GgufFields& fields) {
  Keys keys(config.family->gguf.arch, fields);
  add_sizes(config, context, keys);
  add_rope(config, keys);
  add_windows(config, keys);
  add_scales(config, keys);
  add_experts(config, keys);
}

RopeFactors gguf_rope_factors(const Config& config) {
  const RopeConfig& rope = config.rope;
  if (rope.scaling == RopeScaling::longrope)
    return {.short_text = {rope.short_factors.begin(), rope.short_factors.end()},
            .long_text = {rope.long_factors.begin(), rope.long_factors.end()}};
  if (rope.scaling != RopeScaling::llama3) return {};
  const auto pairs = static_cast<std::size_t>(rotary_dim(rope, config.layers.front().attention->head_dim) / 2);
  RopeFactors factors;
  for (std::size_t i = 0; i < pairs; ++i) factors.always.push_back(static_cast<float>(llama3_factor(rope, i, pairs)));
  return factors;
}

}  // namespace streamline
