// SPDX-License-Identifier: Apache-2.0
// The last check before a result gets its name: what was written is what was meant.
#pragma once

#include <filesystem>

#include "streamline/surgery/apply.h"

namespace streamline {

// Whether a checkpoint has these tensors and no others: names, types, shapes, and samples of their bytes from the first
// to the last.
bool has_tensors(const Checkpoint& written, const std::vector<TensorSource>& meant);

// Opens `directory` afresh and compares it with `expected`, the view of the source in memory: number of layers, what
// lists of config.json say of each layer, tensor names; then as far as `check` says with `tensors`, which were written,
// or the logits of a short fixed sequence. Where the tensors are right but a setting differs, the logits decide. Fills
// the layers, parameters, bytes and check of `applied`. Errors: numeric when logits of the source are NaN or infinite,
// else internal, whatever went wrong.
void verify_result(const Model& expected, const std::vector<TensorSource>& tensors, Checked check,
                   const std::filesystem::path& directory, AppliedPlan& applied);

// Ids spread over the vocabulary, [1, count], the same at every run: as many as the model has positions, at most 24.
torch::Tensor fixed_tokens(const Config& config);

// max |a - b| / max |b|; infinity when a value is not finite or the shapes differ.
double relative_difference(const torch::Tensor& a, const torch::Tensor& b);

}  // namespace streamline
