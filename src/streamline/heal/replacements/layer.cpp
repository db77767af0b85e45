// SPDX-License-Identifier: Apache-2.0
// One decoder layer that starts as the first cut layer: the paper's choice. An ordinary layer of its family, whatever
// that has (biases, q and k norms, a sliding window).
#include "streamline/heal/initial.h"

namespace streamline::layer_replacement {
namespace {

constexpr Start kStarts[] = {Start::inherit, Start::zero, Start::random, Start::closed_form};

}  // namespace

extern const Replacement kReplacement = {
    .name = "layer",
    .title = "one decoder layer, starting as the first cut layer",
    .source = "LLM-Streamline (arXiv 2403.19135), layer replacement",
    .learning_rate = 1e-3,
    .shape = layer_shape,
    .initial = layer_copy,
    .starts = kStarts,
    .closed_form = ClosedForm::output_matrix,
};

}  // namespace streamline::layer_replacement
