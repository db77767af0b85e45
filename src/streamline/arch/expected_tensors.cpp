// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/expected_tensors.h"

#include "streamline/arch/names.h"

namespace streamline {
namespace {

using Shape = std::vector<std::int64_t>;

// What a layer has of one role: nothing (empty shape), or a weight of this shape, and perhaps a bias.
struct RoleShape {
  Shape weight = {};
  bool bias = false;
};

RoleShape norm_shape(const Family& family, std::int64_t width) { return {{width}, family.traits.norm == Norm::layer}; }

RoleShape attention_shape(const Config& config, const AttentionConfig& attention, Role role) {
  const std::int64_t q_width = attention.heads * attention.head_dim, kv_width = attention.kv_heads * attention.head_dim;
  switch (role) {
    case Role::attention_norm:
      return norm_shape(*config.family, config.hidden);
    case Role::q:
      return {{q_width, config.hidden}, attention.qkv_bias};
    case Role::k:
    case Role::v:
      return {{kv_width, config.hidden}, attention.qkv_bias};
    case Role::o:
      return {{config.hidden, q_width}, attention.o_bias};
    case Role::q_norm:
    case Role::k_norm:
      return attention.qk_norm ? RoleShape{{attention.head_dim}} : RoleShape{};
    default:
      return {};
  }
}

RoleShape mlp_shape(const Config& config, const MlpConfig& mlp, Role role) {
  switch (role) {
    case Role::mlp_norm:
      return mlp.norm ? norm_shape(*config.family, config.hidden) : RoleShape{};
    case Role::gate:
      return mlp.gated ? RoleShape{{mlp.intermediate, config.hidden}, mlp.bias} : RoleShape{};
    case Role::up:
      return {{mlp.intermediate, config.hidden}, mlp.bias};
    case Role::down:
      return {{config.hidden, mlp.intermediate}, mlp.bias};
    default:
      return {};
  }
}

RoleShape layer_role_shape(const Config& config, const LayerConfig& layer, Role role) {
  if (is_attention_role(role)) return layer.attention ? attention_shape(config, *layer.attention, role) : RoleShape{};
  return layer.mlp ? mlp_shape(config, *layer.mlp, role) : RoleShape{};
}

void append(std::vector<ExpectedTensor>& tensors, std::int64_t layer, Role role, const RoleShape& shape,
            std::string (*name)(const Family&, std::int64_t, Role, Part), const Family& family) {
  if (shape.weight.empty()) return;
  tensors.push_back({layer, role, Part::weight, name(family, layer, role, Part::weight), shape.weight});
  if (shape.bias)
    tensors.push_back({layer, role, Part::bias, name(family, layer, role, Part::bias), {shape.weight[0]}});
}

RoleShape global_role_shape(const Config& config, Role role) {
  switch (role) {
    case Role::token_embedding:
      return {{config.vocab, config.hidden}};
    case Role::position_embedding:
      return {{config.max_positions + config.family->traits.position_offset, config.hidden}};
    case Role::final_norm:
      return norm_shape(*config.family, config.hidden);
    case Role::head:
      return config.tied_embeddings ? RoleShape{} : RoleShape{{config.vocab, config.hidden}};
    default:
      return {};
  }
}

}  // namespace

std::int64_t ExpectedTensor::elements() const {
  std::int64_t count = 1;
  for (const std::int64_t dimension : shape) count *= dimension;
  return count;
}

std::vector<ExpectedTensor> layer_tensors(const Config& config, const LayerConfig& layer, std::int64_t index) {
  const auto name = is_ordinary(layer) ? tensor_name : extension_tensor_name;
  std::vector<ExpectedTensor> tensors;
  for (int i = static_cast<int>(Role::attention_norm); i <= static_cast<int>(Role::down); ++i) {
    const Role role = static_cast<Role>(i);
    append(tensors, index, role, layer_role_shape(config, layer, role), name, *config.family);
  }
  return tensors;
}

std::vector<ExpectedTensor> global_tensors(const Config& config) {
  std::vector<ExpectedTensor> tensors;
  for (const RoleName& entry : config.family->global_names)
    append(tensors, -1, entry.role, global_role_shape(config, entry.role), tensor_name, *config.family);
  return tensors;
}

std::vector<ExpectedTensor> expected_tensors(const Config& config) {
  std::vector<ExpectedTensor> tensors = global_tensors(config);
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    std::vector<ExpectedTensor> layer = layer_tensors(config, config.layers[i], static_cast<std::int64_t>(i));
    tensors.insert(tensors.end(), std::make_move_iterator(layer.begin()), std::make_move_iterator(layer.end()));
  }
  return tensors;
}

}  // namespace streamline
