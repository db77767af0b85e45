// SPDX-License-Identifier: Apache-2.0
#include "streamline/sparse/input_sums.h"

namespace streamline::sparse {

void InputSums::add(Role tap, std::int64_t expert, const torch::Tensor& inputs) {
  const torch::NoGradGuard no_grad;
  const auto seen = (inputs.dim() == 3 ? inputs.slice(1, skip_first_) : inputs).detach();
  InputSum& sum = sums_[{tap, expert}];
  sum.moments.add(seen);
  if (!gram_) return;
  const auto rows = seen.reshape({-1, seen.size(-1)}).to(torch::kCPU, torch::kFloat);
  if (!sum.gram.defined()) sum.gram = torch::zeros({rows.size(1), rows.size(1)}, torch::kFloat);
  sum.gram.addmm_(rows.t(), rows);
}

const InputSum* InputSums::of(Role matrix, std::int64_t expert) const {
  const auto found = sums_.find({read_by(matrix), expert});
  return found == sums_.end() ? nullptr : &found->second;
}

}  // namespace streamline::sparse
