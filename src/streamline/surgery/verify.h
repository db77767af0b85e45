// SPDX-License-Identifier: Apache-2.0
// The last check before a result gets its name: what was written is what was meant.
#pragma once

#include <filesystem>
#include <future>

#include "streamline/surgery/apply.h"

namespace streamline {

// What a written model must answer: `logits` [1, count, vocab] to `ids` [1, count]. Empty: nothing is asked.
struct ExpectedLogits {
  torch::Tensor ids;
  std::future<torch::Tensor> logits;
};

// Logits of `expected` for fixed_tokens. They are computed beside what the caller does meanwhile, where several threads
// compute on the CPU, else when they are asked for, which is also when errors come.
ExpectedLogits logits_beside(Model expected, std::int64_t positions);

// Opens `directory` afresh and compares it with `expected`, the view of the source in memory: number of layers, what
// lists of config.json say of each layer, tensor names, and the logits (where any are asked). Fills the layers,
// parameters, bytes and difference of `applied`. Errors: numeric when the source holds NaN or infinity, else internal,
// whatever went wrong.
void verify_result(const Model& expected, const std::filesystem::path& directory, ExpectedLogits asked,
                   AppliedPlan& applied);

// Ids spread over the vocabulary, [1, count], the same at every run: as many as there are `positions` (<= 0: unknown),
// at most 24.
torch::Tensor fixed_tokens(std::int64_t vocab, std::int64_t positions);

// max |a - b| / max |b|; infinity when a value is not finite or the shapes differ.
double relative_difference(const torch::Tensor& a, const torch::Tensor& b);

}  // namespace streamline
