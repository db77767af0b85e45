// SPDX-License-Identifier: Apache-2.0
// How many parameters and bytes a model's stack has, counted from the checkpoint's index without reading weights.
#include <array>

#include "streamline/engine/model.h"
#include "streamline/engine/weight_source.h"
#include "streamline/nn/halves.h"

namespace streamline {
namespace {

constexpr std::array kGlobalRoles = {Role::token_embedding, Role::position_embedding, Role::project_in,
                                     Role::project_out,     Role::final_norm,         Role::head};

// Elements of a stored tensor that a slice leaves of it.
std::int64_t elements_left(const TensorInfo& info, const Config& config, std::int64_t layer, Role role, Part part,
                           std::int64_t expert, const LayerSlice& slice) {
  if (slice.empty()) return info.elements();
  const auto cut = tensor_cut(config.layers[static_cast<std::size_t>(layer)], slice, role, part, expert);
  if (!cut) return info.elements();
  const bool turned = info.shape.size() == 2 && is_transposed(config, layer, role, part);
  const auto before = info.shape[static_cast<std::size_t>(turned ? 1 - cut->dimension : cut->dimension)];
  return info.elements() / before * static_cast<std::int64_t>(cut->indices.size());
}

}  // namespace

void Model::for_each_tensor(const std::function<void(const TensorInfo& info, std::int64_t elements)>& stored,
                            const std::function<void(const torch::Tensor& tensor)>& trained) const {
  const Config& config = source_->config();
  const auto visit = [&](std::int64_t layer, Role role, std::int64_t expert, const LayerSlice& slice) {
    for (const Part part : {Part::weight, Part::bias})
      if (const TensorInfo* info = source_->info(layer, role, part, expert))
        stored(*info, elements_left(*info, config, layer, role, part, expert, slice));
  };
  for (std::size_t i = 0; i < stack_.size(); ++i) {
    const StackEntry& entry = stack_[i];
    if (entry.weights)
      for (const auto& tensor : entry.weights->all()) trained(tensor);
    const LayerConfig& layer = config_.layers[i];
    const auto visit_half = [&](std::int64_t source, const auto& has) {
      if (source < 0) return;
      for_each_role(config.layers[static_cast<std::size_t>(source)], [&](Role role, std::int64_t expert) {
        if (has(role)) visit(source, role, expert, entry.slice);
      });
    };
    visit_half(entry.attention, is_attention_role);
    // A norm that the halves share comes with the attention where there is one.
    visit_half(entry.mlp,
               [&](Role role) { return layer.attention ? !is_attention_role(role) : serves_mlp(layer, role); });
  }
  for (const Role role : kGlobalRoles)
    if (role != Role::head || !config_.tied_embeddings) visit(-1, role, -1, {});
}

std::int64_t Model::parameters() const {
  std::int64_t total = 0;
  for_each_tensor([&](const TensorInfo&, std::int64_t elements) { total += elements; },
                  [&](const torch::Tensor& tensor) { total += tensor.numel(); });
  return total + (route_ ? route_->parameters : 0);
}

std::uint64_t Model::weight_bytes() const {
  std::uint64_t total = 0;
  const TensorInfo* table = source_->info(-1, Role::token_embedding, Part::weight);
  // Of what was trained: as results store it, beside quantised matrices in 16 bits.
  const std::uint64_t element = table && table->is_plain()   ? dtype_size(table->dtype)
                                : config_.dtype == "float32" ? 4
                                                             : 2;
  const auto share = [](const TensorInfo& info, std::int64_t elements) {
    const auto part = static_cast<double>(elements) / static_cast<double>(info.elements());
    return elements == info.elements() ? info.size : static_cast<std::uint64_t>(static_cast<double>(info.size) * part);
  };
  for_each_tensor([&](const TensorInfo& info, std::int64_t elements) { total += share(info, elements); },
                  [&](const torch::Tensor& tensor) { total += static_cast<std::uint64_t>(tensor.numel()) * element; });
  return total;
}

}  // namespace streamline
