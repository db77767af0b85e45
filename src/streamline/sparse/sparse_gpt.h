// SPDX-License-Identifier: Apache-2.0
// SparseGPT (Frantar and Alistarh, arXiv 2301.00774): weights of one matrix go column by column, and those to the right
// make up for them, so that W x stays as near as it can to what it was over the inputs that were seen.
#pragma once

#include "streamline/sparse/criterion.h"

namespace streamline::sparse {

// What the matrices that read the same inputs share.
struct SparseGptInputs {
  torch::Tensor factor;  // [in, in] float: the upper Cholesky factor of the inverse of the damped Gram matrix
  torch::Tensor dead;    // [in] bool: inputs that are always zero
};

// gram: [in, in] float, the sum of x x^T over inputs; a factor does not matter. damping: of the mean of its diagonal,
// added to it. Errors: numeric where the damped matrix has no Cholesky factor.
SparseGptInputs sparse_gpt_inputs(const torch::Tensor& gram, double damping);

struct SparseGptOptions {
  double ratio = 0.5;        // of every slab of columns
  Pattern pattern = {};      // instead of the ratio
  std::int64_t block = 128;  // columns of a slab
};

// In place. matrix: [out, in] float, in one piece. Columns of inputs that are always zero go. Errors: mismatch where
// `in` is no multiple of the pattern's group.
void sparse_gpt(torch::Tensor& matrix, const SparseGptInputs& inputs, const SparseGptOptions& options);

}  // namespace streamline::sparse
