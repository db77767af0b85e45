// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/matrix_fit.h"

#include <array>

#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr std::array kRefitRidges = {1e-4, 1e-3, 1e-2, 1e-1, 1.0};

}  // namespace

MatrixFit::MatrixFit(const torch::Tensor& weight, const std::vector<std::int64_t>& kept, RefitKind kind) : kind_(kind) {
  std::vector<std::int64_t> gone;
  for (std::int64_t i = 0, next = 0; i < weight.size(1); ++i) {
    if (next < std::ssize(kept) && kept[static_cast<std::size_t>(next)] == i)
      ++next;
    else
      gone.push_back(i);
  }
  kept_ = torch::tensor(kept, torch::kLong).to(weight.device());
  gone_ = torch::tensor(gone, torch::kLong).to(weight.device());
  gone_weight_ = weight.index_select(1, gone_).to(torch::kDouble);
}

void MatrixFit::add(const torch::Tensor& read, bool judges) {
  const auto missing = read.index_select(1, gone_).matmul(gone_weight_.t());
  const auto features =
      kind_ == RefitKind::bias ? torch::ones({read.size(0), 1}, read.options()) : read.index_select(1, kept_);
  (judges ? judging_ : teaching_).add(features, missing, /*diagonal=*/false);
}

torch::Tensor MatrixFit::solve(FittedMatrix& found, const std::string& where) const {
  const std::int64_t unknowns = teaching_.gram.defined() ? teaching_.gram.size(0) : 1;
  if (teaching_.rows < unknowns)
    fail(ErrorKind::resource, "--refit: ", where, " has ", unknowns, " columns to fit and the text has ",
         teaching_.rows, " tokens for it; give at least ", unknowns, ", better several times as many");
  const double outputs = static_cast<double>(judging_.rows * gone_weight_.size(0));
  found.before = judging_.energy / outputs;
  if (kind_ == RefitKind::bias) {
    const auto mean = solve_ridge(teaching_, 0).value();
    found.after = std::max(0.0, judging_.error(mean) / outputs);
    return mean.cpu();
  }
  const BestRidge best = best_ridge(judging_, outputs, found.before, kRefitRidges,
                                    [&](double ridge) { return solve_ridge(teaching_, ridge); });
  found.after = best.error;
  found.ridge = best.ridge;
  return best.solution.defined() ? best.solution.cpu() : best.solution;
}

}  // namespace streamline
