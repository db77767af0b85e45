// SPDX-License-Identifier: Apache-2.0
// The paper's SwiGLU: y = W_down (act(W_gate x) * W_up x), as wide as the model's own MLP, without norm, bias and
// residual, so it must produce the whole hidden state. No family has such a layer: it folds as our extension.
#include "streamline/heal/initial.h"

namespace streamline::swiglu_replacement {
namespace {

// In a family without a dense MLP at that place the width is four times the hidden size.
LayerConfig shape(const Config& model, std::int64_t first) {
  const LayerConfig& layer = model.layers.at(static_cast<std::size_t>(first));
  const bool dense = layer.mlp && !layer.mlp->experts;
  return {.attention = {},
          .mlp = MlpConfig{.intermediate = dense ? layer.mlp->intermediate : 4 * model.hidden,
                           .activation = Activation::silu,
                           .norm = false,
                           .residual = false}};
}

// N(0, initializer_range), as ffn: the release has this network in a disabled line and says nothing else.
LayerWeights initial(const Model& model, std::int64_t first, Rng& rng) {
  return random_weights(model.config(), shape(model.config(), first), rng);
}

constexpr Start kStarts[] = {Start::random, Start::closed_form};

}  // namespace

extern const Replacement kReplacement = {
    .name = "swiglu",
    .title = "a gated MLP without norm and without residual",
    .source = "LLM-Streamline (arXiv 2403.19135), SwiGLU",
    .learning_rate = 1e-3,
    .shape = shape,
    .initial = initial,
    .starts = kStarts,
    .closed_form = ClosedForm::output_matrix,
};

}  // namespace streamline::swiglu_replacement
