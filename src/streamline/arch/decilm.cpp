// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/decilm.h"

#include <algorithm>

#include "streamline/arch/activation.h"
#include "streamline/arch/json_edit.h"
#include "streamline/arch/layer_shapes.h"
#include "streamline/arch/names.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr const char* kModelType = "nemotron-nas";
constexpr const char* kDeciLm = "DeciLMForCausalLM";

const Family& decilm_family() {
  const Family* family = find_family(kModelType);
  SL_ASSERT(family != nullptr);
  return *family;
}

bool same_names(const std::vector<RoleName>& names, const std::vector<RoleName>& others) {
  return names.size() == others.size() && std::all_of(names.begin(), names.end(), [&](const RoleName& entry) {
           return std::any_of(others.begin(), others.end(), [&](const RoleName& other) {
             return other.role == entry.role && other.name == entry.name;
           });
         });
}

// What is the same in all layers.
std::string why_not_model(const Config& config) {
  const Traits& traits = config.family->traits;
  const Family& decilm = decilm_family();
  if (!config.text_key.empty() || config.multimodal) return "it has parts beside the text model";
  if (traits.qk_norm != QkNorm::none) return "it has norms of q and k";
  if (config.family->experts) return "it has experts";
  if (config.family->layer_prefix != decilm.layer_prefix ||
      !same_names(config.family->layer_names, decilm.layer_names) ||
      !same_names(config.family->global_names, decilm.global_names))
    return "its layers are not those of Llama";
  const bool plain = traits.norm == Norm::rms && traits.norm_offset == 0 && traits.gated_mlp && !traits.transposed &&
                     traits.position == Position::rope && !traits.neighbours_rotate && !traits.head_bias &&
                     config.rope.rotated_share == 1 && config.scale == Scales{} && config.final_norm &&
                     !config.normalised_head && !config.projects_embeddings();
  return plain ? "" : "it does not compute as Llama does";
}

std::string why_not_attention(const Config& config, const AttentionConfig& attention) {
  if (attention.window) return "has a window of " + std::to_string(*attention.window) + " tokens";
  if (attention.rope != RopeUse::global) return "does not turn its heads as the others do";
  if (attention.heads * attention.head_dim != config.hidden)
    return "has " + std::to_string(attention.heads) + " heads of " + std::to_string(attention.head_dim) +
           ", which are not the hidden size " + std::to_string(config.hidden);
  const bool plain = attention.norm && !attention.post_norm && attention.layout == QkvLayout::apart &&
                     attention.qk_norm == QkNorm::none && !attention.chunk && !attention.temperature &&
                     !attention.scale && attention.softcap == 0;
  return plain ? "" : "has another attention than Llama";
}

std::string why_not_mlp(const MlpConfig& mlp) {
  if (mlp.activation != Activation::silu)
    return "has the activation " + std::string(activation_name(mlp.activation)) + " instead of silu";
  const bool plain =
      mlp.gated && mlp.norm && mlp.residual && !mlp.post_norm && !mlp.shared_norm && !mlp.fused_gate && !mlp.experts;
  return plain ? "" : "has another MLP than Llama";
}

std::string why_not_layer(const Config& config, const LayerConfig& layer) {
  if (!is_ordinary(layer)) return "is a stand-in that only this program computes";
  if (layer.residual != Residual::sequential) return "has halves that do not follow each other";
  std::string why = layer.attention ? why_not_attention(config, *layer.attention) : "";
  if (why.empty() && layer.mlp) why = why_not_mlp(*layer.mlp);
  return why;
}

// Keys of the families that become DeciLM, which would mean something else there or nothing.
void erase_others(Json& config) {
  for (const char* key : {"layer_types", "sliding_window", "use_sliding_window", "max_window_layers"})
    config.erase(key);
}

void write_biases(const std::vector<LayerConfig>& layers, Json& config) {
  bool qkv = false, o = false, mlp = false;
  for (const LayerConfig& layer : layers) {
    qkv |= layer.attention && layer.attention->qkv_bias;
    o |= layer.attention && layer.attention->o_bias;
    mlp |= layer.mlp && layer.mlp->bias;
  }
  set_beside(config, "attention_bias", o, {});
  set_beside(config, "mlp_bias", mlp, {"attention_bias"});
  if (qkv != o || config.contains("qkv_bias")) set_beside(config, "qkv_bias", qkv, {"attention_bias"});
}

}  // namespace

std::string why_not_decilm(const Config& config) {
  if (std::string why = why_not_model(config); !why.empty()) return why;
  for (std::size_t i = 0; i < config.layers.size(); ++i)
    if (const std::string why = why_not_layer(config, config.layers[i]); !why.empty())
      return "layer " + std::to_string(i) + " " + why;
  return {};
}

LayerConfig decilm_layer(LayerConfig layer) {
  if (layer.mlp) layer.mlp->intermediate = (layer.mlp->intermediate + kBlockWidth - 1) / kBlockWidth * kBlockWidth;
  layer.partial = !layer.whole();
  return layer;
}

void write_decilm(const Config& source, const std::vector<LayerConfig>& layers, Json& config) {
  set_beside(config, "block_configs", block_configs(source.hidden, layers), {"hidden_size", "num_hidden_layers"});
  if (source.family->traits.block_configs) return;
  const ConfigKeys& keys = source.family->keys;
  set_beside(config, "architectures", Json::array({kDeciLm}), {});
  set_beside(config, "model_type", kModelType, {"architectures"});
  erase_others(config);
  set_beside(config, "num_key_value_heads", nullptr, {"num_attention_heads"});
  set_beside(config, "intermediate_size", nullptr, {"hidden_size"});
  set_beside(config, "hidden_act", activation_name(Activation::silu), {});
  // What these families leave out has another default there.
  set_beside(config, keys.norm_epsilon, source.norm_epsilon, {});
  set_beside(config, keys.max_positions, source.max_positions, {});
  set_beside(config, keys.vocab, source.vocab, {});
  write_biases(layers, config);
}

}  // namespace streamline
