// SPDX-License-Identifier: Apache-2.0
// Last matrices of halves fitted anew, layer after layer: of what the heads and channels that went would have given, as
// much as those that stay can give, or its mean; and the mean of what halves and layers that went would have added.
#pragma once

#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "streamline/heal/emulated_update.h"
#include "streamline/heal/matrix_fit.h"

namespace streamline {

// "least-squares", "bias"; errors: usage.
RefitKind parse_refit(std::string_view name);

struct Refit {
  Model model;  // the source with what was found: model.view(plan, …) has the fitted matrices
  std::map<std::pair<std::int64_t, Role>, FittedMatrix> matrices = {};  // by layer of the source; o and down
  std::vector<EmulatedUpdate> updates = {};                             // of RefitKind::bias, in order
};

// Errors, naming the half: unsupported where slices of heads, or of channels, may need a bias that the family cannot
// hold.
void check_refit(const Config& config, RefitKind kind, bool heads, bool channels);

// What a plan will drop.
enum class DroppedUnits { layers, halves };
// Errors: unsupported, with the first why_no_constant(), where no half of the model, or none behind which a whole layer
// may go, can give the stream a constant.
void check_emulated_updates(const Config& config, DroppedUnits units);

// For each sliced half of a layer that the plan keeps, x being what the whole layer's matrix reads of the stream that
// the layers before it, sliced and fitted, give:
// least_squares: W' = W_kept + D, D minimising |x_gone W_gone - x_kept D|² with a ridge on D, judged by every eighth
// sequence. Experts stay as they were sliced.
// bias: b' = b + mean(x_gone) W_gone, over the same text but every eighth sequence, of which `after` is told. FLAP
// takes the means of the whole model instead. What goes whole between two halves that stay is measured as one, on the
// stream that they get, and its mean added to the first one's bias. Other biases that the model then has are zeros
// (added_biases.h).
// Memory: the stream of the text, of kind bias twice, one layer, a Gram matrix of fp64, and the fitted matrices.
// Errors: usage for a plan in which nothing goes that this kind makes up for, or that replaces layers; resource for
// fewer than two sequences, and for fewer tokens than there are unknowns for each output, naming the number needed;
// unsupported where a sliced half cannot have a bias.
Refit refit_slices(const Model& source, const Plan& plan, const TokenBatches& text,
                   RefitKind kind = RefitKind::least_squares);

}  // namespace streamline
