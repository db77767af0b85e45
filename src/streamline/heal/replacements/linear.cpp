// SPDX-License-Identifier: Apache-2.0
// A d x d matrix behind the MLP of the layer before the window, found by ridge least squares and multiplied into that
// MLP's last matrix (ReplaceMe, Shopkhoev et al., arXiv 2505.02819): nothing is put in the window's place, and the
// result is an ordinary model. Trained further, it is that last matrix that learns.
#include "streamline/heal/initial.h"

namespace streamline::linear_replacement {
namespace {

bool learns(Role role) { return role == Role::down || role == Role::shared_down || role == Role::stacked_down; }

constexpr Start kStarts[] = {Start::closed_form, Start::inherit};

}  // namespace

extern const Replacement kReplacement = {
    .name = "linear",
    .title = "a matrix behind the MLP before the window, by least squares; folded, costs nothing",
    .source = "ReplaceMe (arXiv 2505.02819)",
    .learning_rate = 2e-4,
    .shape = layer_shape,
    .initial = layer_copy,
    .starts = kStarts,
    .closed_form = ClosedForm::map,
    .before = 1,
    .learns = learns,
};

}  // namespace streamline::linear_replacement
