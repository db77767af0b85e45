// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/fold.h"

#include "streamline/arch/decilm.h"
#include "streamline/arch/expected_tensors.h"
#include "streamline/base/error.h"
#include "streamline/nn/tensor_bytes.h"
#include "streamline/surgery/apply.h"

namespace streamline {

namespace {

// Equal but for biases, which the mould may have and the layer not.
bool attention_fits(const std::optional<AttentionConfig>& layer, const AttentionConfig& mould) {
  if (!layer) return true;
  AttentionConfig moulded = *layer;
  moulded.qkv_bias = mould.qkv_bias;
  moulded.o_bias = mould.o_bias;
  return moulded == mould && (mould.qkv_bias || !layer->qkv_bias) && (mould.o_bias || !layer->o_bias);
}

// Equal but for biases and for the width, which may be smaller in all but sparse layers. `alone`: without attention.
bool mlp_fits(const std::optional<MlpConfig>& layer, const MlpConfig& mould, bool alone) {
  if (!layer) return true;
  MlpConfig moulded = *layer;
  moulded.bias = mould.bias;
  if (!layer->experts) moulded.intermediate = mould.intermediate;
  if (alone && mould.shared_norm && layer->norm) moulded.norm = mould.norm, moulded.shared_norm = mould.shared_norm;
  return moulded == mould && layer->intermediate <= mould.intermediate && (mould.bias || !layer->bias);
}

// Without its other half a layer is the same whether the halves are parallel or not; a norm after the sum would stay.
bool residual_fits(const LayerConfig& layer, const LayerConfig& mould) {
  if (layer.attention && layer.mlp) return layer.residual == mould.residual;
  return layer.residual != Residual::norm_after_sum && mould.residual != Residual::norm_after_sum;
}

// The replacement's tensor for this place. An MLP alone brings its own norm where the layer's halves share one.
const torch::Tensor* find(const LayerWeights& weights, const ExpectedTensor& expected, const LayerConfig& mould) {
  const bool borrows = !weights.config.attention && mould.mlp && mould.mlp->shared_norm;
  const Role role = borrows && expected.role == Role::attention_norm ? Role::mlp_norm : expected.role;
  if (expected.expert >= static_cast<std::int64_t>(weights.experts.size())) return nullptr;
  const TensorsByRole& tensors =
      expected.expert < 0 ? weights.tensors : weights.experts[static_cast<std::size_t>(expected.expert)];
  const auto found = tensors.find(role);
  if (found == tensors.end()) return nullptr;
  const torch::Tensor& tensor = expected.part == Part::weight ? found->second.weight : found->second.bias;
  return tensor.defined() ? &tensor : nullptr;
}

// `tensor` in the low corner of a tensor of zeros.
torch::Tensor padded(const torch::Tensor& tensor, const std::vector<std::int64_t>& shape, const std::string& name) {
  bool fits = tensor.dim() == static_cast<std::int64_t>(shape.size());
  for (std::int64_t d = 0; fits && d < tensor.dim(); ++d) fits = tensor.size(d) <= shape[d];
  if (!fits) {
    fail(ErrorKind::mismatch, name, ": the replacement's tensor is ", tensor.sizes(), "; the layer takes ",
         torch::IntArrayRef(shape));
  }
  if (tensor.sizes() == torch::IntArrayRef(shape)) return tensor;
  torch::Tensor whole = torch::zeros(shape, tensor.options());
  torch::Tensor corner = whole;
  for (std::int64_t d = 0; d < tensor.dim(); ++d) corner = corner.narrow(d, 0, tensor.size(d));
  corner.copy_(tensor);
  return whole;
}

// The same; the gate and the up that lie in one tensor are padded each.
torch::Tensor padded(const torch::Tensor& tensor, const ExpectedTensor& expected) {
  if (expected.role != Role::gate_up || tensor.size(0) % 2 != 0) return padded(tensor, expected.shape, expected.name);
  std::vector<std::int64_t> half = expected.shape;
  half[0] /= 2;
  const std::vector<torch::Tensor> halves = tensor.chunk(2, 0);
  return torch::cat({padded(halves[0], half, expected.name), padded(halves[1], half, expected.name)}, 0);
}

// What stands in a half that the replacement does not have: weights of zeros, norms that scale by one.
torch::Tensor neutral(const Config& config, const ExpectedTensor& expected) {
  if (is_norm_role(expected.role) && expected.part == Part::weight)
    return torch::full(expected.shape, 1 - config.family->traits.norm_offset);
  return torch::zeros(expected.shape);
}

TensorSource rounded(const Config& config, const ExpectedTensor& expected, const torch::Tensor& value) {
  torch::Tensor stored = value.detach().to(torch::kCPU).to(stored_type(config));
  stored = (expected.transposed ? stored.t() : stored).contiguous();
  if (!torch::isfinite(stored).all().item<bool>()) {
    fail(ErrorKind::numeric, expected.name, ": the replacement holds NaN or infinity once rounded to ", config.dtype);
  }
  return tensor_source(expected.name, stored);
}

std::string folding_note(const LayerConfig& layer, const LayerConfig& mould, std::int64_t index) {
  std::string note;
  if (!layer.attention) note += "its attention output is zeros";
  if (!layer.mlp) note += "its MLP is zeros";
  if (layer.mlp && layer.mlp->intermediate < mould.mlp->intermediate) {
    note += (note.empty() ? "" : ", ") + ("its MLP of width " + std::to_string(layer.mlp->intermediate)) +
            " is padded with zeros to " + std::to_string(mould.mlp->intermediate);
  }
  return note.empty() ? note : "layer " + std::to_string(index) + " is stored as an ordinary layer: " + note;
}

// Every tensor that a layer of this shape has, as layer `index`.
std::vector<TensorSource> moulded(const Config& config, const LayerWeights& weights, const LayerConfig& shape,
                                  std::int64_t index) {
  std::vector<TensorSource> tensors;
  for (const ExpectedTensor& expected : layer_tensors(config, shape, index)) {
    const torch::Tensor* trained = find(weights, expected, shape);
    const torch::Tensor value = trained != nullptr ? padded(*trained, expected) : neutral(config, expected);
    tensors.push_back(rounded(config, expected, value));
  }
  return tensors;
}

FoldedLayer as_ordinary(const Config& config, const LayerWeights& weights, std::int64_t mould, std::int64_t index) {
  return {.source = mould,
          .tensors = moulded(config, weights, config.layers[mould], index),
          .note = folding_note(weights.config, config.layers[mould], index)};
}

// What the layers of the model have of a half, biases and all; nullopt where none has it.
template <class Half>
std::optional<Half> model_half(const Config& config, std::optional<Half> LayerConfig::*half) {
  for (const LayerConfig& layer : config.layers)
    if (is_ordinary(layer) && layer.*half) return layer.*half;
  return std::nullopt;
}

// The layer as DeciLM stores it, whose widths are each layer's own; nullopt where it is none of such a model.
std::optional<LayerConfig> decilm_shape(const Config& config, const LayerConfig& layer) {
  LayerConfig shape;
  if (layer.whole() ? layer.residual != Residual::sequential : layer.residual == Residual::norm_after_sum)
    return std::nullopt;
  if (layer.attention) {
    shape.attention = model_half(config, &LayerConfig::attention);
    if (shape.attention) shape.attention->kv_heads = layer.attention->kv_heads;
    if (!shape.attention || !attention_fits(layer.attention, *shape.attention)) return std::nullopt;
  }
  if (layer.mlp) {
    shape.mlp = model_half(config, &LayerConfig::mlp);
    if (shape.mlp) shape.mlp->intermediate = layer.mlp->intermediate;
    if (!shape.mlp || !mlp_fits(layer.mlp, *shape.mlp, /*alone=*/false)) return std::nullopt;
  }
  return decilm_layer(shape);
}

// The mould without the halves that the layer lacks.
std::optional<LayerConfig> per_layer_shape(const LayerConfig& layer, const LayerConfig& mould) {
  if (mould.residual != Residual::sequential || !folds_into(layer, mould)) return std::nullopt;
  LayerConfig shape = mould;
  if (!layer.attention) shape.attention.reset();
  if (!layer.mlp) shape.mlp.reset();
  shape.partial = !shape.whole();
  return shape;
}

// The shape in which a form other than LayerForm::ordinary stores the layer.
std::optional<LayerConfig> stored_shape(const Config& config, const LayerConfig& layer, std::int64_t first,
                                        LayerForm form) {
  if (form == LayerForm::decilm) return decilm_shape(config, layer);
  const std::int64_t mould = mould_near(config, first);
  return mould < 0 ? std::nullopt : per_layer_shape(layer, config.layers[mould]);
}

FoldedLayer as_extension(const Config& config, const LayerWeights& weights, std::int64_t first, std::int64_t index) {
  const LayerConfig& layer = weights.config;
  if (layer.attention || !layer.mlp || layer.mlp->experts || layer.mlp->post_norm || layer.mlp->fused_gate) {
    fail(ErrorKind::unsupported, "the replacement of layer ", first, " is not a layer that a ", config.family->name,
         " checkpoint can hold, nor an MLP that the extension of config.json describes; choose another replacement");
  }
  FoldedLayer folded{.source = first, .extension = layer};
  for (const ExpectedTensor& expected : layer_tensors(config, layer, index)) {
    const torch::Tensor* trained = find(weights, expected, layer);
    if (trained == nullptr) fail(ErrorKind::mismatch, expected.name, ": the replacement has no such tensor");
    folded.tensors.push_back(rounded(config, expected, padded(*trained, expected)));
  }
  return folded;
}

}  // namespace

std::int64_t mould_near(const Config& config, std::int64_t first) {
  for (std::int64_t distance = 0; distance < config.layer_count(); ++distance) {
    for (const std::int64_t layer : {first + distance, first - distance}) {
      if (layer >= 0 && layer < config.layer_count() && config.layers[layer].whole()) return layer;
    }
  }
  return -1;
}

bool folds_into(const LayerConfig& layer, const LayerConfig& mould) {
  if (!layer.attention && !layer.mlp) return false;
  return residual_fits(layer, mould) && attention_fits(layer.attention, *mould.attention) &&
         mlp_fits(layer.mlp, *mould.mlp, /*alone=*/!layer.attention);
}

TensorSource tensor_source(std::string name, const torch::Tensor& value) {
  SL_ASSERT(value.is_contiguous() && value.device().is_cpu());
  auto owner = std::make_shared<const torch::Tensor>(value);
  return {.header = {.name = std::move(name), .dtype = stored_dtype(value.scalar_type()), .shape = value.sizes().vec()},
          .bytes = [owner] {
            return Blob{bytes_of(*owner), owner};
          }};
}

void check_form(const Config& config, const LayerConfig& replacement, std::int64_t first, LayerForm form) {
  if (form == LayerForm::ordinary || stored_shape(config, replacement, first, form)) return;
  fail(ErrorKind::unsupported, "the replacement of layer ", first, " is no layer that the format ",
       form == LayerForm::decilm ? "decilm" : "per-layer",
       " can hold; choose another replacement (layer, swiglu-residual), or the format auto");
}

FoldedLayer fold_layer(const Config& config, const LayerWeights& weights, std::int64_t first, std::int64_t index,
                       LayerForm form) {
  const torch::NoGradGuard no_grad;
  if (form != LayerForm::ordinary) {
    check_form(config, weights.config, first, form);
    const auto shape = stored_shape(config, weights.config, first, form);
    return {.source = first, .shape = shape, .tensors = moulded(config, weights, *shape, index)};
  }
  const std::int64_t mould = mould_near(config, first);
  if (mould >= 0 && folds_into(weights.config, config.layers[mould])) return as_ordinary(config, weights, mould, index);
  return as_extension(config, weights, first, index);
}

}  // namespace streamline
