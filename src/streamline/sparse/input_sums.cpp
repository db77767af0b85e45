// SPDX-License-Identifier: Apache-2.0
#include "streamline/sparse/input_sums.h"

#include "streamline/prune/inside_statistics.h"

namespace streamline::sparse {

void InputSums::add(Role tap, std::int64_t expert, const torch::Tensor& inputs) {
  const torch::NoGradGuard no_grad;
  const auto rows = inputs.detach().reshape({-1, inputs.size(-1)}).to(torch::kCPU, torch::kFloat);
  InputSum& sum = sums_[{tap, expert}];
  sum.tokens += rows.size(0);
  const auto squares = rows.square().sum(0, /*keepdim=*/false, torch::kDouble);
  sum.squares = sum.squares.defined() ? sum.squares + squares : squares;
  if (!gram_) return;
  if (!sum.gram.defined()) sum.gram = torch::zeros({rows.size(1), rows.size(1)}, torch::kFloat);
  sum.gram.addmm_(rows.t(), rows);
}

const InputSum* InputSums::of(Role matrix, std::int64_t expert) const {
  const auto found = sums_.find({read_by(matrix), expert});
  return found == sums_.end() ? nullptr : &found->second;
}

}  // namespace streamline::sparse
