// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/halves.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>

#include "streamline/arch/layer_slice.h"
#include "streamline/arch/names.h"
#include "streamline/base/error.h"
#include "streamline/nn/halves.h"
#include "streamline/surgery/fold.h"

namespace streamline {

namespace {

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

bool is_weight(std::string_view suffix) { return suffix.ends_with(".weight"); }

void require_plain(const TensorInfo& tensor) {
  const bool part = is_weight(tensor.name) || tensor.name.ends_with(".bias");
  if (!part || !tensor.is_plain() || !is_floating(tensor.dtype) || dtype_size(tensor.dtype) < 2)
    fail(ErrorKind::unsupported, tensor.name,
         ": is stored in a quantised form, which cannot be cut or padded; use the format ordinary where nothing is "
         "sliced, or apply the plan to the unquantised checkpoint");
}

std::vector<std::int64_t> cut_shape(std::vector<std::int64_t> shape, const TensorCut& cut) {
  shape.at(static_cast<std::size_t>(cut.dimension)) = static_cast<std::int64_t>(cut.indices.size());
  return shape;
}

// Zeros, or for a norm what scales by one; scales and other companions of a matrix stay.
TensorSource neutral(const Checkpoint& source, const Config& config, Role role, const TensorInfo& tensor,
                     std::string name, const std::optional<TensorCut>& cut) {
  const bool weight = is_weight(tensor.name) || is_stack_role(role);
  if (!weight && !tensor.name.ends_with(".bias")) return copied(source, tensor, std::move(name));
  if (!tensor.is_plain())
    fail(ErrorKind::unsupported, tensor.name,
         ": a half of a layer cannot be made zero in a quantised form; drop whole ",
         "layers, or apply the plan to the unquantised checkpoint");
  const double value = weight && is_norm_role(role) ? 1 - config.family->traits.norm_offset : 0;
  const std::vector<std::int64_t> shape = cut ? cut_shape(tensor.shape, *cut) : tensor.shape;
  return tensor_source(std::move(name), torch::full(shape, value).to(scalar_type(tensor.dtype)));
}

// Neighbours that are copied at once, or zeros where `first` is -1.
struct Run {
  std::int64_t first = 0;
  std::size_t count = 0;
};
std::vector<Run> runs_of(const std::vector<std::int64_t>& indices) {
  std::vector<Run> runs;
  for (const std::int64_t index : indices) {
    const bool goes_on =
        !runs.empty() &&
        index == (runs.back().first < 0 ? -1 : runs.back().first + static_cast<std::int64_t>(runs.back().count));
    if (!goes_on) runs.push_back({.first = index});
    ++runs.back().count;
  }
  return runs;
}

// Copies rows or columns of a matrix, or elements of a bias, zeros for -1. `cut` is of the stored layout.
std::vector<std::byte> gathered_bytes(std::span<const std::byte> bytes, const std::vector<std::int64_t>& shape,
                                      const TensorCut& cut) {
  std::size_t elements = 1;
  for (const std::int64_t size : shape) elements *= static_cast<std::size_t>(size);
  const std::size_t element = bytes.size() / elements, width = static_cast<std::size_t>(shape.back()) * element;
  const bool columns = shape.size() == 1 || cut.dimension == 1;
  const std::size_t piece = columns ? element : width, line = cut.indices.size() * piece;
  const std::int64_t lines = columns && shape.size() > 1 ? shape.front() : 1;
  const std::vector<Run> runs = runs_of(cut.indices);
  std::vector<std::byte> out(static_cast<std::size_t>(lines) * line);
  constexpr std::size_t kWorthAThread = 1 << 20;  // bytes
  const auto grain = static_cast<std::int64_t>(kWorthAThread / (line + 1) + 1);
  at::parallel_for(0, lines, grain, [&](std::int64_t first, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(end); ++i) {
      std::byte* to = out.data() + i * line;
      for (const Run& run : runs) {
        const std::byte* from = bytes.data() + i * width;
        if (run.first >= 0) std::memcpy(to, from + static_cast<std::size_t>(run.first) * piece, run.count * piece);
        to += run.count * piece;
      }
    }
  });
  return out;
}

// What the cut leaves of a tensor; made when it is written.
TensorSource cut_tensor(const TensorSource& whole, const TensorCut& cut) {
  const auto bytes = [whole, cut] {
    const Blob blob = whole.bytes();
    const auto made =
        std::make_shared<const std::vector<std::byte>>(gathered_bytes(blob.bytes, whole.header.shape, cut));
    return Blob{std::span<const std::byte>(*made), made};
  };
  TensorSource result{.header = whole.header, .bytes = bytes};
  result.header.shape = cut_shape(whole.header.shape, cut);
  return result;
}

// What is taken of the halves so that they have the widths of `shape`: nothing but zeros of a half that went.
LayerSlice stored_slice(const LayerConfig& from, const OutputLayer& layer, const LayerConfig& shape) {
  LayerSlice slice = layer.slice;
  if (!layer.attention && shape.attention && shape.attention->kv_heads != from.attention->kv_heads)
    slice.kv_heads = KeptUnits{.of = from.attention->kv_heads};
  if (!layer.mlp && shape.mlp && shape.mlp->intermediate != from.mlp->intermediate)
    slice.channels = {KeptUnits{.of = from.mlp->intermediate}};
  return padded_slice(from, std::move(slice), shape.attention ? shape.attention->kv_heads : 0,
                      shape.mlp ? shape.mlp->intermediate : 0);
}

}  // namespace

std::vector<TensorSource> half_tensors(const Model& model, const StoredTensors& stored, const OutputLayer& layer,
                                       std::int64_t index, const LayerConfig& shape, MissingHalf missing) {
  const Checkpoint& source = model.checkpoint();
  const Config& config = model.config();
  const LayerConfig& mlp_layer = config.layers[static_cast<std::size_t>(layer.mlp_source)];
  LayerConfig from = config.layers[static_cast<std::size_t>(layer.source)];
  from.mlp = mlp_layer.mlp;
  const LayerSlice slice = stored_slice(from, layer, shape);
  std::vector<TensorSource> tensors;
  for_each_tensor(*config.family, stored, layer, [&](Role role, const std::string& suffix, const TensorInfo& tensor) {
    const bool half = is_attention_role(role) ? layer.attention : layer.mlp;
    const bool stays =
        half || (missing == MissingHalf::zeros && serves_mlp(mlp_layer, role) && is_attention_role(role));
    if (!stays && missing == MissingHalf::nothing) return;
    const std::int64_t of = is_attention_role(role) ? layer.source : layer.mlp_source;
    std::optional<TensorCut> cut = tensor_cut(from, slice, role, is_weight(suffix) ? Part::weight : Part::bias,
                                              layer_expert(*config.family, suffix));
    if (cut) require_plain(tensor);
    if (cut && tensor.shape.size() == 2 && is_transposed(config, of, role, Part::weight))
      cut->dimension = 1 - cut->dimension;
    std::string name = layer_tensor(*config.family, index, suffix);
    if (!stays) {
      tensors.push_back(neutral(source, config, role, tensor, std::move(name), cut));
      return;
    }
    TensorSource whole = as_in_model(model, of, {suffix, &tensor}, std::move(name));
    tensors.push_back(cut ? cut_tensor(whole, *cut) : std::move(whole));
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
