// SPDX-License-Identifier: Apache-2.0
// The last check before a result gets its name: what was written is what was meant.
#pragma once

#include <filesystem>

#include "streamline/surgery/apply.h"

namespace streamline {

// Opens `directory` afresh and compares it with `expected`, the view of the source in memory: number of layers, what
// lists of config.json say of each layer, tensor names, and (with `compare_logits`) the logits of a short fixed
// sequence. Fills the layers, parameters, bytes and difference of `applied`. Errors: numeric when the source holds NaN
// or infinity, else internal, whatever went wrong.
void verify_result(const Model& expected, const std::filesystem::path& directory, bool compare_logits,
                   AppliedPlan& applied);

// Ids spread over the vocabulary, [1, count], the same at every run: as many as the model has positions, at most 24.
torch::Tensor fixed_tokens(const Config& config);

// max |a - b| / max |b|; infinity when a value is not finite or the shapes differ.
double relative_difference(const torch::Tensor& a, const torch::Tensor& b);

}  // namespace streamline
