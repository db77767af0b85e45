// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/fold.h"

#include "streamline/arch/expected_tensors.h"
#include "streamline/base/error.h"
#include "streamline/surgery/apply.h"

namespace streamline {

namespace {

bool attention_fits(const std::optional<AttentionConfig>& layer, const AttentionConfig& mould) {
  if (!layer) return true;
  return layer->heads == mould.heads && layer->kv_heads == mould.kv_heads && layer->head_dim == mould.head_dim &&
         layer->window == mould.window && layer->qk_norm == mould.qk_norm && (mould.qkv_bias || !layer->qkv_bias) &&
         (mould.o_bias || !layer->o_bias);
}

bool mlp_fits(const std::optional<MlpConfig>& layer, const MlpConfig& mould) {
  if (!layer) return true;
  return layer->norm && layer->residual && layer->gated == mould.gated && layer->activation == mould.activation &&
         layer->intermediate <= mould.intermediate && (mould.bias || !layer->bias);
}

// An ordinary layer of the source near `first` (that layer itself unless it is an extension); -1 when there is none.
std::int64_t mould_near(const Config& config, std::int64_t first) {
  for (std::int64_t distance = 0; distance < config.layer_count(); ++distance) {
    for (const std::int64_t layer : {first + distance, first - distance}) {
      if (layer >= 0 && layer < config.layer_count() && is_ordinary(config.layers[layer])) return layer;
    }
  }
  return -1;
}

const torch::Tensor* find(const LayerWeights& weights, Role role, Part part) {
  const auto found = weights.tensors.find(role);
  if (found == weights.tensors.end()) return nullptr;
  const torch::Tensor& tensor = part == Part::weight ? found->second.weight : found->second.bias;
  return tensor.defined() ? &tensor : nullptr;
}

bool is_norm(Role role) {
  return role == Role::attention_norm || role == Role::mlp_norm || role == Role::q_norm || role == Role::k_norm;
}

// `tensor` in the low corner of a tensor of zeros.
torch::Tensor padded(const torch::Tensor& tensor, const ExpectedTensor& expected) {
  const std::vector<std::int64_t>& shape = expected.shape;
  bool fits = tensor.dim() == static_cast<std::int64_t>(shape.size());
  for (std::int64_t d = 0; fits && d < tensor.dim(); ++d) fits = tensor.size(d) <= shape[d];
  if (!fits) {
    fail(ErrorKind::mismatch, expected.name, ": the replacement's tensor is ", tensor.sizes(), "; the layer takes ",
         torch::IntArrayRef(shape));
  }
  if (tensor.sizes() == torch::IntArrayRef(shape)) return tensor;
  torch::Tensor whole = torch::zeros(shape, tensor.options());
  torch::Tensor corner = whole;
  for (std::int64_t d = 0; d < tensor.dim(); ++d) corner = corner.narrow(d, 0, tensor.size(d));
  corner.copy_(tensor);
  return whole;
}

// What stands in a half that the replacement does not have: weights of zeros, norms that scale by one.
torch::Tensor neutral(const ExpectedTensor& expected) {
  if (is_norm(expected.role) && expected.part == Part::weight) return torch::ones(expected.shape);
  return torch::zeros(expected.shape);
}

TensorSource rounded(const Config& config, const ExpectedTensor& expected, const torch::Tensor& value) {
  const torch::Tensor stored = value.detach().to(torch::kCPU).to(stored_type(config)).contiguous();
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

FoldedLayer as_ordinary(const Config& config, const LayerWeights& weights, std::int64_t mould, std::int64_t index) {
  FoldedLayer folded{.source = mould, .note = folding_note(weights.config, config.layers[mould], index)};
  for (const ExpectedTensor& expected : layer_tensors(config, config.layers[mould], index)) {
    const torch::Tensor* trained = find(weights, expected.role, expected.part);
    const torch::Tensor value = trained != nullptr ? padded(*trained, expected) : neutral(expected);
    folded.tensors.push_back(rounded(config, expected, value));
  }
  return folded;
}

FoldedLayer as_extension(const Config& config, const LayerWeights& weights, std::int64_t first, std::int64_t index) {
  const LayerConfig& layer = weights.config;
  if (layer.attention || !layer.mlp) {
    fail(ErrorKind::unsupported, "the replacement of layer ", first, " is not a layer that a ", config.family->name,
         " checkpoint can hold, nor an MLP that the extension of config.json describes; choose another replacement");
  }
  FoldedLayer folded{.source = first, .extension = layer};
  for (const ExpectedTensor& expected : layer_tensors(config, layer, index)) {
    const torch::Tensor* trained = find(weights, expected.role, expected.part);
    if (trained == nullptr) fail(ErrorKind::mismatch, expected.name, ": the replacement has no such tensor");
    folded.tensors.push_back(rounded(config, expected, padded(*trained, expected)));
  }
  return folded;
}

}  // namespace

bool folds_into(const LayerConfig& layer, const LayerConfig& mould) {
  if (!layer.attention && !layer.mlp) return false;
  return attention_fits(layer.attention, *mould.attention) && mlp_fits(layer.mlp, *mould.mlp);
}

TensorSource tensor_source(std::string name, const torch::Tensor& value) {
  SL_ASSERT(value.is_contiguous() && value.device().is_cpu());
  auto owner = std::make_shared<const torch::Tensor>(value);
  const std::span bytes(static_cast<const std::byte*>(value.const_data_ptr()), value.nbytes());
  return {.header = {.name = std::move(name), .dtype = stored_dtype(value.scalar_type()), .shape = value.sizes().vec()},
          .bytes = [bytes, owner] {
            return Blob{bytes, owner};
          }};
}

FoldedLayer fold_layer(const Config& config, const LayerWeights& weights, std::int64_t first, std::int64_t index) {
  const torch::NoGradGuard no_grad;
  const std::int64_t mould = mould_near(config, first);
  if (mould >= 0 && folds_into(weights.config, config.layers[mould])) return as_ordinary(config, weights, mould, index);
  return as_extension(config, weights, first, index);
}

}  // namespace streamline
