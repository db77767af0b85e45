// SPDX-License-Identifier: Apache-2.0
#include "streamline/sparse/input_sums.h"

#include "streamline/base/error.h"

namespace streamline::sparse {

Role tap_of(Role matrix) {
  if (matrix == Role::o || matrix == Role::down) return matrix;
  return is_attention_role(matrix) ? Role::q : Role::up;
}

void InputSums::add(Role tap, const torch::Tensor& inputs) {
  const torch::NoGradGuard no_grad;
  const auto rows = inputs.detach().reshape({-1, inputs.size(-1)}).to(torch::kCPU, torch::kFloat);
  InputSum& sum = sums_[tap];
  const auto squares = rows.square().sum(0, /*keepdim=*/false, torch::kDouble);
  sum.squares = sum.squares.defined() ? sum.squares + squares : squares;
  if (!gram_) return;
  if (!sum.gram.defined()) sum.gram = torch::zeros({rows.size(1), rows.size(1)}, torch::kFloat);
  sum.gram.addmm_(rows.t(), rows);
}

const InputSum& InputSums::of(Role matrix) const {
  const auto found = sums_.find(tap_of(matrix));
  SL_ASSERT(found != sums_.end());
  return found->second;
}

}  // namespace streamline::sparse
