// SPDX-License-Identifier: Apache-2.0
// The paper's FFN made a half of a layer: y = x + W2 relu(W1 norm(x) + b1) + b2, d -> 4d -> d, with W2 = 0 at the
// start. In families whose own MLP is of this kind and wide enough it folds as a layer whose attention writes zeros;
// elsewhere as our extension.
#include "streamline/heal/initial.h"

namespace streamline::ffn_residual_replacement {
namespace {

LayerConfig shape(const Config& model, std::int64_t) {
  return {
      .attention = {},
      .mlp = MlpConfig{.intermediate = 4 * model.hidden, .gated = false, .activation = Activation::relu, .bias = true}};
}

// The norm is that of the first cut layer's MLP where it has one.
LayerWeights initial(const Model& model, std::int64_t first, Rng& rng) {
  const Config& config = model.config();
  LayerWeights weights{.config = shape(config, first), .tensors = {}};
  const std::int64_t d = config.hidden, f = weights.config.mlp->intermediate;
  const LayerWeights source = layer_copy(model, first, rng);
  for (const Role role : {Role::mlp_norm, Role::attention_norm}) {
    if (!source.has(role)) continue;
    weights.tensors[Role::mlp_norm] = source.at(role);
    break;
  }
  if (!weights.has(Role::mlp_norm))
    weights.tensors[Role::mlp_norm].weight = torch::full({d}, 1 - config.family->traits.norm_offset);
  weights.tensors[Role::up] = {normal_tensor({f, d}, initializer_range(config), rng), torch::zeros({f})};
  weights.tensors[Role::down] = {torch::zeros({d, f}), torch::zeros({d})};
  return weights;
}

constexpr Start kStarts[] = {Start::zero, Start::random, Start::closed_form};

}  // namespace

extern const Replacement kReplacement = {
    .name = "ffn-residual",
    .title = "ffn behind a norm and with its residual, starting as the identity",
    .source = "after LLM-Streamline (arXiv 2403.19135), FFN; with norm, residual and a zero start",
    .learning_rate = 1e-3,
    .shape = shape,
    .initial = initial,
    .starts = kStarts,
    .closed_form = ClosedForm::output_matrix,
};

}  // namespace streamline::ffn_residual_replacement
