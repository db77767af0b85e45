// SPDX-License-Identifier: Apache-2.0
// The paper's FFN: y = W2 relu(W1 x + b1) + b2, d -> 4d -> d, without norm and without residual, so it must produce
// the whole hidden state. No family has such a layer, not even those with plain MLPs: it folds as our extension.
#include "streamline/heal/initial.h"

namespace streamline::ffn_replacement {
namespace {

LayerConfig shape(const Config& model, std::int64_t) {
  return {.attention = {},
          .mlp = MlpConfig{.intermediate = 4 * model.hidden,
                           .gated = false,
                           .activation = Activation::relu,
                           .norm = false,
                           .residual = false,
                           .bias = true}};
}

// Weights ~ N(0, initializer_range), biases 0: what the released code's base class does.
LayerWeights initial(const Model& model, std::int64_t first, Rng& rng) {
  return random_weights(model.config(), shape(model.config(), first), rng);
}

constexpr Start kStarts[] = {Start::random, Start::closed_form};

}  // namespace

extern const Replacement kReplacement = {
    .name = "ffn",
    .title = "two matrices with ReLU between, d to 4d to d, no residual",
    .source = "LLM-Streamline (arXiv 2403.19135), FFN",
    .learning_rate = 1e-3,
    .shape = shape,
    .initial = initial,
    .starts = kStarts,
    .closed_form = ClosedForm::output_matrix,
};

}  // namespace streamline::ffn_replacement
