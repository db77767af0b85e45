// SPDX-License-Identifier: Apache-2.0
// A factor a channel behind the MLP of the layer before the window, found by least squares and multiplied into that
// MLP's last matrix: the diagonal part of LinearPatch (Chen et al., arXiv 2505.24680). Nothing is put in the window's
// place, nothing is trained, and the result is an ordinary model.
#include "streamline/heal/replacement.h"

namespace streamline {
namespace {

LayerConfig shape(const Config& model, std::int64_t first) { return model.layers.at(static_cast<std::size_t>(first)); }

LayerWeights initial(const Model& model, std::int64_t first, Rng&) {
  return copy_to(model.layer(first), torch::kCPU, torch::kFloat32);
}

Folding folding(const Config&) { return Folding::ordinary_layer; }

constexpr Start kStarts[] = {Start::closed_form};

}  // namespace

extern const Replacement scale_replacement = {
    .name = "scale",
    .title = "a factor a channel behind the MLP before the window, by least squares; folded, costs nothing",
    .source = "after LinearPatch (arXiv 2505.24680), the diagonal",
    .learning_rate = 0,
    .shape = shape,
    .initial = initial,
    .folding = folding,
    .starts = kStarts,
    .closed_form = ClosedForm::scale,
    .before = 1,
};

}  // namespace streamline
