// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/halves.h"

#include <algorithm>

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

}  // namespace

std::vector<TensorSource> half_tensors(const Checkpoint& source, const Config& config, const StoredTensors& stored,
                                       const OutputLayer& layer, std::int64_t index) {
  const Family& family = *config.family;
  const LayerConfig& mlp_layer = config.layers[static_cast<std::size_t>(layer.mlp_source)];
  std::vector<TensorSource> tensors;
  const auto add_half = [&](std::int64_t from, bool attention) {
    for (const auto& [suffix, tensor] : stored.layers.at(from)) {
      const std::optional<Role> role = layer_role(family, suffix);
      SL_ASSERT(role.has_value());  // a resolved configuration knows every tensor of its layers
      if (is_attention_role(*role) != attention) continue;
      std::string name = layer_tensor(family, index, suffix);
      const bool stays = attention ? layer.attention || serves_mlp(mlp_layer, *role) : layer.mlp;
      tensors.push_back(stays ? copied(source, *tensor, std::move(name))
                              : neutral(source, config, *role, *tensor, std::move(name)));
    }
  };
  add_half(layer.source, /*attention=*/true);
  add_half(layer.mlp_source, /*attention=*/false);
  return tensors;
}

std::string packing_note(std::span<const OutputLayer> layers) {
  const auto joined = std::count_if(layers.begin(), layers.end(), [](const OutputLayer& layer) {
    return !layer.replaced && layer.whole() && layer.source != layer.mlp_source;
  });
  const auto alone =
      std::count_if(layers.begin(), layers.end(), [](const OutputLayer& layer) { return !layer.whole(); });
  if (joined == 0 && alone == 0) return "";
  std::string note = "re-packed to " + std::to_string(layers.size()) + " ordinary layers: " + std::to_string(joined) +
                     (joined == 1 ? " holds" : " hold") + " an attention and an MLP of different layers";
  if (alone > 0)
    note += ", " + std::to_string(alone) + (alone == 1 ? " has" : " have") +
            " a half without partner, beside zeros that cost memory and time and add nothing";
  return note;
}

}  // namespace streamline
