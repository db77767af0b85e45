// SPDX-License-Identifier: Apache-2.0
// A factor a channel behind the MLP of the layer before the window, found by least squares and multiplied into that
// MLP's last matrix: the diagonal part of LinearPatch (Chen et al., arXiv 2505.24680). Nothing is put in the window's
// place, nothing is trained, and the result is an ordinary model.
#include "streamline/heal/initial.h"

namespace streamline::scale_replacement {
namespace {

constexpr Start kStarts[] = {Start::closed_form};

}  // namespace

extern const Replacement kReplacement = {
    .name = "scale",
    .title = "a factor a channel behind the MLP before the window, by least squares; folded, costs nothing",
    .source = "after LinearPatch (arXiv 2505.24680), the diagonal",
    .learning_rate = 0,
    .shape = layer_shape,
    .initial = layer_copy,
    .starts = kStarts,
    .closed_form = ClosedForm::scale,
    .before = 1,
};

}  // namespace streamline::scale_replacement
