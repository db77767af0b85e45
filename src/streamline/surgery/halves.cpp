// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/halves.h"

#include <algorithm>
#include <cstring>

#include "streamline/arch/names.h"
#include "streamline/base/error.h"
#include "streamline/nn/halves.h"
#include "streamline/surgery/fold.h"

namespace streamline {

namespace {

// Zeros, or for a norm what scales by one; scales and other companions of a matrix stay.
TensorSource neutral(const Checkpoint& source, const Config& config, Role role, const TensorInfo& tensor,
                     std::string name) {
  const bool weight = tensor.name.ends_with(".weight");
  if (!weight && !tensor.name.ends_with(".bias")) return copied(source, tensor, std::move(name));
  if (!tensor.is_plain())
    fail(ErrorKind::unsupported, tensor.name,
         ": a half of a layer cannot be made zero in a quantised form; drop whole ",
         "layers, or apply the plan to the unquantised checkpoint");
  const double value = weight && is_norm_role(role) ? 1 - config.family->traits.norm_offset : 0;
  return tensor_source(std::move(name), torch::full(tensor.shape, value).to(scalar_type(tensor.dtype)));
}

// Calls visit(role, suffix, tensor) for every stored tensor of the two halves, those of the attention first.
template <class Visit>
void for_each_tensor(const Family& family, const StoredTensors& stored, const OutputLayer& layer, const Visit& visit) {
  for (const bool attention : {true, false})
    for (const auto& [suffix, tensor] : stored.layers.at(attention ? layer.source : layer.mlp_source)) {
      const std::optional<Role> role = layer_role(family, suffix);
      SL_ASSERT(role.has_value());  // a resolved configuration knows every tensor of its layers
      if (is_attention_role(*role) == attention) visit(*role, suffix, *tensor);
    }
}

// A matrix or a bias in the low corner of zeros; made when it is written.
TensorSource zero_padded(const Checkpoint& source, const TensorInfo& tensor, std::string name,
                         std::vector<std::int64_t> shape) {
  const bool part = tensor.name.ends_with(".weight") || tensor.name.ends_with(".bias");
  if (!part || !tensor.is_plain() || !is_floating(tensor.dtype) || dtype_size(tensor.dtype) < 2)
    fail(ErrorKind::unsupported, tensor.name, ": is stored in a quantised form, whose width cannot be padded to ",
         shape.front(), "; use the format ordinary, or the unquantised checkpoint");
  const auto bytes = [&source, &tensor, shape] {
    const std::size_t element = tensor.size / static_cast<std::size_t>(tensor.elements());
    const std::size_t rows = shape.size() == 2 ? static_cast<std::size_t>(tensor.shape[0]) : 1;
    const std::size_t before = static_cast<std::size_t>(tensor.shape.back()) * element,
                      after = static_cast<std::size_t>(shape.back()) * element;
    std::size_t all = element;
    for (const std::int64_t size : shape) all *= static_cast<std::size_t>(size);
    const auto padded = std::make_shared<std::vector<std::byte>>(all);
    for (std::size_t row = 0; row < rows; ++row)
      std::memcpy(padded->data() + row * after, source.bytes(tensor).data() + row * before, before);
    return Blob{std::span<const std::byte>(*padded), padded};
  };
  return {.header = {.name = std::move(name), .dtype = tensor.dtype, .shape = std::move(shape)}, .bytes = bytes};
}

// The shape of a tensor of an MLP that is to be `width` wide: rows of gate and up, columns of down.
std::vector<std::int64_t> at_width(const TensorInfo& tensor, Role role, std::int64_t width) {
  std::vector<std::int64_t> shape = tensor.shape;
  if (role == Role::gate || role == Role::up) shape.front() = width;
  if (role == Role::down && shape.size() == 2) shape.back() = width;
  return shape;
}

}  // namespace

std::vector<TensorSource> half_tensors(const Checkpoint& source, const Config& config, const StoredTensors& stored,
                                       const OutputLayer& layer, std::int64_t index) {
  const LayerConfig& mlp_layer = config.layers[static_cast<std::size_t>(layer.mlp_source)];
  std::vector<TensorSource> tensors;
  for_each_tensor(*config.family, stored, layer, [&](Role role, const std::string& suffix, const TensorInfo& tensor) {
    std::string name = layer_tensor(*config.family, index, suffix);
    const bool stays = is_attention_role(role) ? layer.attention || serves_mlp(mlp_layer, role) : layer.mlp;
    tensors.push_back(stays ? copied(source, tensor, std::move(name))
                            : neutral(source, config, role, tensor, std::move(name)));
  });
  return tensors;
}

std::vector<TensorSource> half_tensors(const Checkpoint& source, const Config& config, const StoredTensors& stored,
                                       const OutputLayer& layer, std::int64_t index, const LayerConfig& shape) {
  std::vector<TensorSource> tensors;
  const bool widens = layer.mlp && shape.mlp->intermediate !=
                                       config.layers[static_cast<std::size_t>(layer.mlp_source)].mlp->intermediate;
  for_each_tensor(*config.family, stored, layer, [&](Role role, const std::string& suffix, const TensorInfo& tensor) {
    if (!(is_attention_role(role) ? layer.attention : layer.mlp)) return;
    std::string name = layer_tensor(*config.family, index, suffix);
    const std::vector<std::int64_t> size = widens ? at_width(tensor, role, shape.mlp->intermediate) : tensor.shape;
    tensors.push_back(size == tensor.shape ? copied(source, tensor, std::move(name))
                                           : zero_padded(source, tensor, std::move(name), size));
  });
  return tensors;
}

std::string packing_note(std::span<const OutputLayer> layers, LayerForm form) {
  const auto joined = std::count_if(layers.begin(), layers.end(), [](const OutputLayer& layer) {
    return !layer.replaced && layer.whole() && layer.source != layer.mlp_source;
  });
  const auto alone =
      std::count_if(layers.begin(), layers.end(), [](const OutputLayer& layer) { return !layer.whole(); });
  if (joined == 0 && alone == 0) return "";
  const char* kind = form == LayerForm::ordinary ? " ordinary layers: " : " layers: ";
  std::string note = "re-packed to " + std::to_string(layers.size()) + kind + std::to_string(joined) +
                     (joined == 1 ? " holds" : " hold") + " an attention and an MLP of different layers";
  if (alone > 0) {
    note += ", " + std::to_string(alone) + (alone == 1 ? " has" : " have") + " a half without partner, ";
    note += form == LayerForm::ordinary ? "beside zeros that cost memory and time and add nothing" : "and only that";
  }
  return note;
}

}  // namespace streamline
