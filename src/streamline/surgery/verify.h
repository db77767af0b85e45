// SPDX-License-Identifier: Apache-2.0
// The last check before a result gets its name: what was written is what was meant.
#pragma once

#include <filesystem>
#include <future>

#include "streamline/surgery/apply.h"

namespace streamline {

// What a written model must answer: `logits` [1, count, vocab] to `ids` [1, count].
struct ExpectedLogits {
  torch::Tensor ids;
  std::future<torch::Tensor> logits;
};

// Logits of `expected` for fixed_tokens. They are computed beside what the caller does meanwhile, where several threads
// compute on the CPU, else when they are asked for, which is also when errors come. Whoever lets them go waits for
// them.
ExpectedLogits logits_beside(Model expected, std::int64_t positions);
// The same, computed when they are asked for.
ExpectedLogits logits_when_asked(Model expected, std::int64_t positions);

// Whether a checkpoint has these tensors and no others, all bytes of a file: names, types, shapes, and samples of their
// bytes, both ends among them.
bool has_tensors(const Checkpoint& written, const std::vector<TensorSource>& meant);

// What a result is to be.
struct Meant {
  const Model& model;                        // the view of the source in memory
  const std::vector<TensorSource>& tensors;  // as they were written
  ExpectedLogits logits;
  Checked check = Checked::logits;  // how far to compare
};

// Opens `directory` afresh and compares it with what was meant: number of layers, what lists of config.json say of each
// layer, tensor names; then as far as is asked. Where tensors are, but a setting differs, the logits decide. Fills the
// layers, parameters, bytes and check of `applied`. Errors: numeric when logits of the source are NaN or infinite, else
// internal, whatever went wrong.
void verify_result(Meant meant, const std::filesystem::path& directory, AppliedPlan& applied);

// Ids spread over the vocabulary, [1, count], the same at every run: as many as there are `positions` (<= 0: unknown),
// at most 24.
torch::Tensor fixed_tokens(std::int64_t vocab, std::int64_t positions);

// max |a - b| / max |b|; infinity when a value is not finite or the shapes differ.
double relative_difference(const torch::Tensor& a, const torch::Tensor& b);

}  // namespace streamline
