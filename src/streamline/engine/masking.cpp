// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/masking.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <tuple>

#include "streamline/base/error.h"
#include "streamline/engine/weight_source.h"
#include "streamline/nn/kept_bits.h"

namespace streamline {
namespace {

// Layer, role, and expert or -1.
using MatrixKey = std::tuple<std::int64_t, Role, std::int64_t>;

std::map<std::string_view, MatrixKey> matrices_by_name(const Model& source) {
  const Config& config = source.config();
  std::map<std::string_view, MatrixKey> matrices;
  for (std::int64_t layer = 0; layer < config.layer_count(); ++layer) {
    const LayerConfig& shape = config.layers[static_cast<std::size_t>(layer)];
    if (!is_ordinary(shape)) continue;  // what stands in for layers is written as it is
    for_each_role(shape, [&](Role role, std::int64_t expert) {
      const TensorInfo* found = find_tensor(source.checkpoint(), config, layer, role, Part::weight, expert);
      if (found != nullptr && found->shape.size() >= 2) matrices[found->name] = {layer, role, expert};
    });
  }
  return matrices;
}

MatrixKey matrix_of(const std::map<std::string_view, MatrixKey>& matrices, const Model& source, const Mask& mask,
                    const std::string& where) {
  const TensorInfo* tensor = source.checkpoint().find(mask.tensor);
  const std::string label = source.checkpoint().label();
  if (tensor == nullptr) fail(ErrorKind::mismatch, where, " is masked, and ", label, " has no such tensor");
  const auto found = matrices.find(mask.tensor);
  if (found == matrices.end())
    fail(ErrorKind::unsupported, where, " is masked, and is no matrix of a decoder layer of ", label);
  if (std::get<0>(found->second) != mask.layer)
    fail(ErrorKind::mismatch, where, " is masked as one of layer ", mask.layer, "; ", label, " has it in layer ",
         std::get<0>(found->second));
  if (tensor->shape != mask.shape)
    fail(ErrorKind::mismatch, where, " is masked as ", Json(mask.shape).dump(), "; ", label, " has it as ",
         Json(tensor->shape).dump());
  if (!tensor->is_plain() || !is_floating(tensor->dtype) || dtype_size(tensor->dtype) < 2)
    fail(ErrorKind::unsupported, where, " is stored in a quantised form, which cannot be masked; ",
         "apply the plan to the unquantised checkpoint");
  return found->second;
}

torch::Tensor masked_matrix(const torch::Tensor& stored, std::span<const std::byte> bits, bool transposed) {
  auto words = torch::empty({static_cast<std::int64_t>(bits.size())}, torch::kByte);
  std::copy(bits.begin(), bits.end(), static_cast<std::byte*>(words.mutable_data_ptr()));
  return transposed ? with_kept(stored.t(), words).t() : with_kept(stored, words);
}

}  // namespace

std::shared_ptr<const WeightChange> masking(const Model& source, std::shared_ptr<const MasksFile> masks) {
  if (!source.checkpoint().is_safetensors())
    fail(ErrorKind::unsupported, source.checkpoint().label(),
         ": the plan masks weights, which is done in Hugging Face checkpoints; export the result");
  const std::map<std::string_view, MatrixKey> matrices = matrices_by_name(source);
  std::map<MatrixKey, std::size_t> places;
  for (std::size_t i = 0; i < masks->masks().size(); ++i) {
    const Mask& mask = masks->masks()[i];
    places[matrix_of(matrices, source, mask, masks->name() + ": '" + mask.tensor + "'")] = i;
  }
  return std::make_shared<const WeightChange>(
      WeightChange{.touches =
                       [places](std::int64_t layer, Role role, std::int64_t expert) {
                         return places.contains({layer, role, expert});
                       },
                   .apply =
                       [places, masks, config = source.config()](std::int64_t layer, Role role, std::int64_t expert,
                                                                 const torch::Tensor& stored) {
                         return masked_matrix(stored, masks->bits(places.at({layer, role, expert})),
                                              is_transposed(config, layer, role, Part::weight));
                       },
                   .masks = masks});
}

}  // namespace streamline
