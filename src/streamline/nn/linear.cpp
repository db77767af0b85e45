// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/linear.h"

#include <algorithm>

#include "streamline/nn/few_rows.h"

namespace streamline {

bool needs_gradient(std::initializer_list<torch::Tensor> tensors) {
  return torch::GradMode::is_enabled() &&
         std::any_of(tensors.begin(), tensors.end(), [](const torch::Tensor& t) { return t.requires_grad(); });
}

torch::Tensor linear(const torch::Tensor& x, const RoleTensors& weights) {
  // Of a view that is no plain list of rows, as the last position of a longer sequence, libtorch makes a batch, for
  // which it lays the whole matrix out anew.
  const auto rows = x.reshape({-1, x.size(-1)});
  auto shape = x.sizes().vec();
  shape.back() = weights.weight.size(0);
  const auto product = kernels::few_rows_apply(rows, weights.weight, weights.bias)
                           ? kernels::few_rows_product(rows, weights.weight, weights.bias)
                           : torch::linear(rows, weights.weight, weights.bias);
  const auto y = product.view(shape);
  return weights.low_rank.defined() ? y + low_rank_update(x, weights.low_rank) : y;
}

RoleTensors rows(const RoleTensors& weights, std::int64_t first, std::int64_t count) {
  RoleTensors part{weights.weight.narrow(0, first, count),
                   weights.bias.defined() ? weights.bias.narrow(0, first, count) : torch::Tensor(), weights.low_rank};
  if (part.low_rank.defined()) part.low_rank.b = part.low_rank.b.narrow(0, first, count);
  return part;
}

torch::Tensor add_linear(const torch::Tensor& residual, const torch::Tensor& x, const RoleTensors& weights, Reuse reuse,
                         double scale) {
  const auto rows = residual.reshape({-1, residual.size(-1)});  // [tokens, out]
  const auto input = x.reshape({-1, x.size(-1)});               // [tokens, in]
  const bool few = kernels::few_rows_apply(input, weights.weight, weights.bias, rows);
  const bool in_place = reuse == Reuse::yes && !needs_gradient({residual, x, weights.weight});
  auto sum = few        ? kernels::few_rows_product(input, weights.weight, weights.bias, rows, scale)
             : in_place ? rows.addmm_(input, weights.weight.t(), /*beta=*/1, scale)
                        : torch::addmm(rows, input, weights.weight.t(), /*beta=*/1, scale);
  if (weights.bias.defined() && !few) sum = in_place ? sum.add_(weights.bias, scale) : sum.add(weights.bias, scale);
  if (weights.low_rank.defined()) sum = sum + scale * low_rank_update(input, weights.low_rank);
  return sum.view_as(residual);
}

}  // namespace streamline
