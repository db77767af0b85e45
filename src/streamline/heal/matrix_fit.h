// SPDX-License-Identifier: Apache-2.0
// What of a matrix's missing part can be made up for: by the columns that stay, or by a constant.
#pragma once

#include <string>
#include <vector>

#include "streamline/heal/closed_form.h"

namespace streamline {

enum class RefitKind {
  least_squares,  // the columns that stay are fitted to what is missing
  bias,           // the mean of what is missing is a bias: FLAP (An et al., arXiv 2312.11983, section 3) for heads and
                  // channels, emulated updates (emulated_update.h) for halves and layers
};

struct FittedMatrix {
  double before = 0, after = 0;  // mean squares over held-out tokens of what is missing, of what then still is
  double ridge = 0;              // that was best; infinity where nothing was better than nothing; 0 of a bias
};

class MatrixFit {
 public:
  // weight: [out, in]; kept: columns that stay, rising.
  MatrixFit(const torch::Tensor& weight, const std::vector<std::int64_t>& kept, RefitKind kind);

  // read: what the whole matrix reads, [tokens, in] fp64, of the text that teaches or of that which judges.
  void add(const torch::Tensor& read, bool judges);

  // What is added to the kept columns, [kept, out], or the constant, [1, out], on the CPU; undefined where nothing is
  // better. Errors, naming `where`: resource for fewer tokens than unknowns of an output.
  torch::Tensor solve(FittedMatrix& found, const std::string& where) const;

 private:
  RefitKind kind_;
  torch::Tensor kept_, gone_, gone_weight_;
  LeastSquares teaching_, judging_;
};

}  // namespace streamline
