// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/gguf_layout.h"

#include "streamline/arch/expected_tensors.h"
#include "streamline/arch/gguf_names.h"
#include "streamline/arch/gguf_scale.h"
#include "streamline/arch/layer_shapes.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

bool is_f32_role(Role role) {
  return is_norm_role(role) || role == Role::router || role == Role::shared_router || role == Role::position_embedding;
}

// Rows 2j and 2j + 1 of a head are rows j and j + half of it.
std::vector<std::int64_t> interleaved(std::int64_t rows, std::int64_t heads) {
  const std::int64_t head_dim = rows / heads, half = head_dim / 2;
  std::vector<std::int64_t> order(static_cast<std::size_t>(rows));
  for (std::int64_t row = 0; row < rows; ++row)
    order[static_cast<std::size_t>(row)] = row / head_dim * head_dim + row % head_dim / 2 + row % 2 * half;
  return order;
}

// All query heads, then all keys, then all values, of rows that are group after group.
std::vector<std::int64_t> stacked(const AttentionConfig& attention) {
  const std::int64_t each = attention.heads / attention.kv_heads, group = each + 2, dim = attention.head_dim;
  std::vector<std::int64_t> order;
  const auto add_heads = [&](std::int64_t first, std::int64_t count) {
    for (std::int64_t g = 0; g < attention.kv_heads; ++g)
      for (std::int64_t row = 0; row < count * dim; ++row) order.push_back((g * group + first) * dim + row);
  };
  add_heads(0, each);
  add_heads(each, 1);
  add_heads(each + 1, 1);
  return order;
}

std::vector<std::int64_t> row_order(const Config& config, const ExpectedTensor& tensor) {
  if (tensor.layer < 0) return {};
  const auto& attention = config.layers[static_cast<std::size_t>(tensor.layer)].attention;
  if (config.family->gguf.interleaved_qk && (tensor.role == Role::q || tensor.role == Role::k))
    return interleaved(tensor.shape.front(), tensor.role == Role::q ? attention->heads : attention->kv_heads);
  if (tensor.role == Role::qkv && attention->layout == QkvLayout::grouped) return stacked(*attention);
  return {};
}

const TensorInfo& source(const Checkpoint& checkpoint, const Config& config, const ExpectedTensor& tensor) {
  const TensorInfo* found = find_tensor(checkpoint, config, tensor.layer, tensor.role, tensor.part,
                                        std::max<std::int64_t>(tensor.expert, -1));
  if (found == nullptr) fail(ErrorKind::mismatch, checkpoint.label(), ": no tensor named '", tensor.name, "'");
  return *found;
}

// Scores are scaled where the queries are normed last, else in the rows that make them.
float factor(const Config& config, const ExpectedTensor& tensor) {
  if (tensor.layer < 0 || config.family->traits.scale.attention_root.key.empty()) return 1;
  const bool normed = config.family->traits.qk_norm != QkNorm::none;
  return tensor.role == (normed ? Role::q_norm : Role::q) ? static_cast<float>(gguf_score_factor(config)) : 1;
}

// Of an MLP that stands in the place of none.
bool is_zero(const Config& config, const ExpectedTensor& tensor) {
  return tensor.layer >= 0 && !config.layers[static_cast<std::size_t>(tensor.layer)].mlp &&
         !is_attention_role(tensor.role);
}

GgufLayoutTensor laid_out(const Checkpoint& checkpoint, const Config& config, const ExpectedTensor& tensor) {
  std::vector<const TensorInfo*> sources;
  if (!is_zero(config, tensor)) sources.push_back(&source(checkpoint, config, tensor));
  GgufLayoutTensor result{
      .name = gguf_tensor_name(*config.family, tensor.layer, tensor.role, tensor.part, tensor.expert >= 0),
      .shape = tensor.shape,
      .sources = std::move(sources),
      .row_order = row_order(config, tensor),
      .transposed = tensor.transposed,
      .offset = is_norm_role(tensor.role) ? static_cast<float>(config.family->traits.norm_offset) : 0,
      .factor = factor(config, tensor),
      .always_f32 = tensor.shape.size() < 2 || is_f32_role(tensor.role)};
  if (result.name.empty())
    fail(ErrorKind::unsupported, checkpoint.label(), ": GGUF files have no name for tensor '", tensor.name, "'");
  return result;
}

// A stack of matrices, [experts, in, out], as one tensor, or as two of which the first has the first columns.
void add_stack(const Checkpoint& checkpoint, const Config& config, const ExpectedTensor& tensor,
               std::vector<GgufLayoutTensor>& tensors) {
  const TensorInfo& stack = source(checkpoint, config, tensor);
  const bool two = tensor.role == Role::stacked_gate_up;
  const std::int64_t rows = tensor.shape[2] / (two ? 2 : 1);
  const std::vector<Role> roles = two ? std::vector{Role::gate, Role::up} : std::vector{Role::down};
  for (std::size_t i = 0; i < roles.size(); ++i)
    tensors.push_back({.name = gguf_tensor_name(*config.family, tensor.layer, roles[i], Part::weight, true),
                       .shape = {tensor.shape[0], rows, tensor.shape[1]},
                       .sources = {&stack},
                       .transposed = true,
                       .column = static_cast<std::int64_t>(i) * rows});
}

// The experts' matrices of one role become one tensor; `tensors` holds those before.
void add(GgufLayoutTensor tensor, bool expert, std::vector<GgufLayoutTensor>& tensors) {
  for (GgufLayoutTensor& earlier : tensors) {
    if (!expert || earlier.name != tensor.name) continue;
    earlier.sources.push_back(tensor.sources.front());
    ++earlier.shape.front();
    return;
  }
  if (expert) tensor.shape.insert(tensor.shape.begin(), 1);
  tensors.push_back(std::move(tensor));
}

}  // namespace

std::vector<GgufLayoutTensor> gguf_layout(const Checkpoint& checkpoint, const Config& config, std::int64_t context) {
  std::vector<GgufLayoutTensor> tensors;
  for (const ExpectedTensor& tensor : global_tensors(config)) {
    GgufLayoutTensor result = laid_out(checkpoint, config, tensor);
    if (tensor.role == Role::position_embedding) result.shape.front() = context;
    tensors.push_back(std::move(result));
  }
  if (config.tied_embeddings && config.family->gguf.own_head) {
    GgufLayoutTensor head = tensors.front();
    head.name = gguf_tensor_name(*config.family, -1, Role::head, Part::weight);
    tensors.push_back(std::move(head));
  }
  for (std::int64_t i = 0; i < config.layer_count(); ++i) {
    std::vector<GgufLayoutTensor> layer = gguf_layer(checkpoint, config, i);
    tensors.insert(tensors.end(), std::make_move_iterator(layer.begin()), std::make_move_iterator(layer.end()));
  }
  return tensors;
}

LayerConfig gguf_stored_layer(const LayerConfig& layer, const Config& config) {
  if (layer.mlp) return layer;
  LayerConfig stored = layer;
  stored.mlp.emplace();
  for (const LayerConfig& other : config.layers)
    if (other.mlp) stored.mlp = other.mlp;
  stored.mlp->intermediate = kBlockWidth;
  return stored;
}

std::vector<GgufLayoutTensor> gguf_layer(const Checkpoint& checkpoint, const Config& config, std::int64_t layer) {
  std::vector<GgufLayoutTensor> tensors;
  const LayerConfig stored = gguf_stored_layer(config.layers[static_cast<std::size_t>(layer)], config);
  for (const ExpectedTensor& tensor : layer_tensors(config, stored, layer)) {
    if (is_stack_role(tensor.role)) {
      add_stack(checkpoint, config, tensor, tensors);
      continue;
    }
    add(laid_out(checkpoint, config, tensor), tensor.expert >= 0, tensors);
  }
  return tensors;
}

DType gguf_stored_type(const GgufLayoutTensor& tensor, DType type) {
  if (tensor.always_f32) return DType::f32;
  const bool whole = static_cast<std::uint64_t>(tensor.shape.back()) % dtype_block(type).elements == 0;
  return whole ? type : DType::f16;
}

}  // namespace streamline
