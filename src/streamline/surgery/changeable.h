// SPDX-License-Identifier: Apache-2.0
// What cannot be done to matrices in a quantised form (FP8), told before the work whose result would be refused.
#pragma once

#include <functional>
#include <string_view>

#include "streamline/engine/model.h"
#include "streamline/surgery/format.h"

namespace streamline {

// Errors: unsupported, naming the first matrix of the model's checkpoint that `changes` names and that is stored in a
// quantised form; `why` goes on from there.
void check_changeable(const Model& model, const std::function<bool(std::int64_t layer, Role role)>& changes,
                      std::string_view why);

// The same of heads and channels that will be cut out of all layers.
void check_cuttable(const Model& model, bool heads, bool channels);

// The same of halves beside which a plan's result in this form has zeros.
void check_zero_halves(const Model& model, const Plan& plan, LayerForm form);

}  // namespace streamline
