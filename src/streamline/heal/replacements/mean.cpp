// SPDX-License-Identifier: Apache-2.0
// The emulated update: the mean of what the window adds to the stream, a constant (Siddiqui et al., arXiv 2407.16286,
// section 3.2.1; they call it an additive bias). Stored as an MLP of width one, all zeros but its last bias: an
// ordinary layer where the family's MLPs have biases, elsewhere our extension.
#include "streamline/heal/initial.h"

namespace streamline::mean_replacement {
namespace {

LayerConfig shape(const Config& model, std::int64_t first) {
  const LayerConfig& layer = model.layers.at(static_cast<std::size_t>(first));
  MlpConfig mlp = layer.mlp.value_or(MlpConfig{});
  mlp.intermediate = 1;
  mlp.norm = mlp.norm || mlp.shared_norm;
  mlp.residual = mlp.bias = true;
  mlp.post_norm = mlp.shared_norm = mlp.fused_gate = false;
  mlp.experts.reset();
  return {.attention = {}, .mlp = mlp};
}

LayerWeights initial(const Model& model, std::int64_t first, Rng& rng) {
  LayerWeights weights = random_weights(model.config(), shape(model.config(), first), rng);
  for (const PlacedTensor& tensor : placed_tensors(weights)) {
    torch::Tensor value = tensor.value;
    if (!is_norm_role(tensor.role)) value.zero_();
  }
  return weights;
}

constexpr Start kStarts[] = {Start::closed_form};

}  // namespace

extern const Replacement kReplacement = {
    .name = "mean",
    .title = "a constant: the mean of what the window adds to the stream, without training",
    .source = "emulated updates (Siddiqui et al., arXiv 2407.16286)",
    .learning_rate = 0,
    .shape = shape,
    .initial = initial,
    .starts = kStarts,
    .closed_form = ClosedForm::constant,
};

}  // namespace streamline::mean_replacement
