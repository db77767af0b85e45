// SPDX-License-Identifier: Apache-2.0
// A linear adapter of low rank, y = x + U V x + b (Siddiqui et al., arXiv 2407.16286), by reduced-rank regression, and
// trained further where a loss of the text asks for it. Written as a gated MLP without norm whose gate is a constant:
// act(16) is 16 in every type, and U is stored as U / 16. No ordinary layer reads the stream without a norm: our
// extension.
#include "streamline/heal/initial.h"

namespace streamline::low_rank_replacement {
namespace {

constexpr std::int64_t kRank = 8;

LayerConfig shape(const Config& model, std::int64_t) {
  return {
      .attention = {},
      .mlp = MlpConfig{
          .intermediate = std::min(kRank, model.hidden), .activation = Activation::silu, .norm = false, .bias = true}};
}

// V random and U zero: the identity.
LayerWeights initial(const Model& model, std::int64_t first, Rng& rng) {
  LayerWeights weights = random_weights(model.config(), shape(model.config(), first), rng);
  weights.tensors.at(Role::gate).weight.zero_();
  weights.tensors.at(Role::gate).bias.fill_(kConstantGate);
  weights.tensors.at(Role::down).weight.zero_();
  return weights;
}

bool learns(Role role) { return role == Role::up || role == Role::down; }

constexpr Start kStarts[] = {Start::closed_form, Start::zero};

}  // namespace

extern const Replacement kReplacement = {
    .name = "low-rank",
    .title = "x + U V x + b of rank 8, by reduced-rank regression or trained",
    .source = "low-rank adapters (Siddiqui et al., arXiv 2407.16286)",
    .learning_rate = 1e-3,
    .shape = shape,
    .initial = initial,
    .starts = kStarts,
    .closed_form = ClosedForm::low_rank,
    .learns = learns,
};

}  // namespace streamline::low_rank_replacement
