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

RoleShape norm_shape(const Family& family, std::int64_t width) {
  return {{width}, family.traits.norm == Norm::layer && family.traits.norm_bias};
}

RoleShape if_there(bool there, const RoleShape& shape) { return there ? shape : RoleShape{}; }

RoleShape attention_shape(const Config& config, const AttentionConfig& attention, Role role) {
  const std::int64_t q_width = attention.heads * attention.head_dim, kv_width = attention.kv_heads * attention.head_dim;
  const bool apart = attention.layout == QkvLayout::apart, whole = attention.qk_norm == QkNorm::whole;
  const bool qk_norm = whole || attention.qk_norm == QkNorm::head;
  switch (role) {
    case Role::attention_norm:
      return if_there(attention.norm, norm_shape(*config.family, config.hidden));
    case Role::attention_post_norm:
      return if_there(attention.post_norm, norm_shape(*config.family, config.hidden));
    case Role::qkv:
      return if_there(!apart, {{q_width + 2 * kv_width, config.hidden}, attention.qkv_bias});
    case Role::q:
      return if_there(apart, {{q_width, config.hidden}, attention.qkv_bias});
    case Role::k:
    case Role::v:
      return if_there(apart, {{kv_width, config.hidden}, attention.qkv_bias});
    case Role::o:
      return {{config.hidden, q_width}, attention.o_bias};
    case Role::q_norm:
      return if_there(qk_norm, {{whole ? q_width : attention.head_dim}});
    case Role::k_norm:
      return if_there(qk_norm, {{whole ? kv_width : attention.head_dim}});
    default:
      return {};
  }
}

// The matrices of a network of this width: an MLP, or one expert.
RoleShape network_shape(const Config& config, const MlpConfig& mlp, std::int64_t width, Role role) {
  switch (role) {
    case Role::gate_up:
      return if_there(mlp.gated && mlp.fused_gate, {{2 * width, config.hidden}, mlp.bias});
    case Role::gate:
      return if_there(mlp.gated && !mlp.fused_gate, {{width, config.hidden}, mlp.bias});
    case Role::up:
      return if_there(!mlp.gated || !mlp.fused_gate, {{width, config.hidden}, mlp.bias});
    case Role::down:
      return {{config.hidden, width}, mlp.bias};
    default:
      return {};
  }
}

RoleShape mlp_shape(const Config& config, const MlpConfig& mlp, Role role) {
  const std::int64_t shared = mlp.experts ? mlp.experts->shared : 0;
  const std::int64_t stacked = mlp.experts && mlp.experts->stacked ? mlp.experts->count : 0;
  switch (role) {
    case Role::mlp_norm:
      return if_there(mlp.norm, norm_shape(*config.family, config.hidden));
    case Role::mlp_post_norm:
      return if_there(mlp.post_norm, norm_shape(*config.family, config.hidden));
    case Role::router:
      return if_there(mlp.experts.has_value(), {{mlp.experts ? mlp.experts->count : 0, config.hidden}});
    case Role::shared_router:
      return if_there(shared > 0 && mlp.experts->shared_routed, {{1, config.hidden}});
    case Role::shared_gate:
    case Role::shared_up:
      return if_there(shared > 0, {{shared, config.hidden}});
    case Role::shared_down:
      return if_there(shared > 0, {{config.hidden, shared}});
    case Role::stacked_gate_up:
      return if_there(stacked > 0, {{stacked, config.hidden, 2 * mlp.intermediate}});
    case Role::stacked_down:
      return if_there(stacked > 0, {{stacked, mlp.intermediate, config.hidden}});
    default:
      return mlp.experts ? RoleShape{} : network_shape(config, mlp, mlp.intermediate, role);
  }
}

RoleShape layer_role_shape(const Config& config, const LayerConfig& layer, Role role) {
  if (is_attention_role(role)) return layer.attention ? attention_shape(config, *layer.attention, role) : RoleShape{};
  return layer.mlp ? mlp_shape(config, *layer.mlp, role) : RoleShape{};
}

// Appends the weight, and the bias, of one role; `name` says what they are called.
template <class Name>
void append(std::vector<ExpectedTensor>& tensors, const ExpectedTensor& place, const RoleShape& shape, bool transposed,
            const Name& name) {
  if (shape.weight.empty()) return;
  ExpectedTensor weight = place;
  weight.name = name(Part::weight);
  weight.shape = shape.weight;
  weight.transposed = transposed && shape.weight.size() == 2;
  tensors.push_back(weight);
  if (!shape.bias) return;
  ExpectedTensor bias = place;
  bias.part = Part::bias;
  bias.name = name(Part::bias);
  bias.shape = {shape.weight[0]};
  tensors.push_back(bias);
}

void append_experts(std::vector<ExpectedTensor>& tensors, const Config& config, const MlpConfig& mlp,
                    std::int64_t index) {
  const Family& family = *config.family;
  if (mlp.experts->stacked) return;
  for (std::int64_t expert = 0; expert < mlp.experts->count; ++expert)
    for (const Role role : {Role::gate, Role::up, Role::down})
      append(tensors, {.layer = index, .role = role, .name = {}, .shape = {}, .expert = expert},
             network_shape(config, mlp, mlp.intermediate, role), false,
             [&](Part part) { return expert_tensor_name(family, index, expert, role, part); });
}

RoleShape global_role_shape(const Config& config, Role role) {
  const std::int64_t width = config.embedding_width != 0 ? config.embedding_width : config.hidden;
  switch (role) {
    case Role::token_embedding:
      return {{config.vocab, width}};
    case Role::position_embedding:
      return {{config.max_positions + config.family->traits.position_offset, config.hidden}};
    case Role::project_in:
      return if_there(config.projects_embeddings(), {{config.hidden, width}});
    case Role::project_out:
      return if_there(config.projects_embeddings(), {{width, config.hidden}});
    case Role::final_norm:
      return if_there(config.final_norm, norm_shape(*config.family, config.hidden));
    case Role::head:
      return if_there(!config.tied_embeddings, {{config.vocab, width}, config.family->traits.head_bias});
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

std::vector<std::int64_t> ExpectedTensor::stored_shape() const {
  return transposed ? Shape(shape.rbegin(), shape.rend()) : shape;
}

std::vector<ExpectedTensor> layer_tensors(const Config& config, const LayerConfig& layer, std::int64_t index) {
  const Family& family = *config.family;
  const bool ordinary = is_ordinary(layer);
  const auto name = ordinary ? tensor_name : extension_tensor_name;
  std::vector<ExpectedTensor> tensors;
  for (int i = static_cast<int>(kFirstLayerRole); i <= static_cast<int>(kLastRole); ++i) {
    const Role role = static_cast<Role>(i);
    append(tensors, {.layer = index, .role = role, .name = {}, .shape = {}}, layer_role_shape(config, layer, role),
           ordinary && family.traits.transposed, [&](Part part) { return name(family, index, role, part); });
  }
  if (layer.mlp && layer.mlp->experts) append_experts(tensors, config, *layer.mlp, index);
  return tensors;
}

std::vector<ExpectedTensor> global_tensors(const Config& config) {
  std::vector<ExpectedTensor> tensors;
  for (const RoleName& entry : config.family->global_names)
    append(tensors, {.role = entry.role, .name = {}, .shape = {}}, global_role_shape(config, entry.role), false,
           [&](Part part) { return tensor_name(*config.family, -1, entry.role, part); });
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
