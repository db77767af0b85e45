// SPDX-License-Identifier: Apache-2.0
// What of a replacement least squares can find, without a gradient: one pass over the text gathers Gram matrices in
// fp64, ridge regression solves for a matrix, and held-out text chooses how strong the ridge is.
#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <span>

#include "streamline/heal/replacement.h"
#include "streamline/heal/window_states.h"

namespace streamline {

// Sums over n rows of features φ [n, p] and what they should give, r [n, d]; fp64.
struct LeastSquares {
  torch::Tensor gram;   // φᵀφ [p, p]; for diagonal problems [p], elementwise
  torch::Tensor cross;  // φᵀr [p, d]; for diagonal problems [p]
  double energy = 0;    // |r|²
  std::int64_t rows = 0;

  void add(const torch::Tensor& features, const torch::Tensor& wanted, bool diagonal);
  // |r - φ w|² of these rows.
  double error(const torch::Tensor& solution) const;
};

// w that minimises |r - φ w|² + ridge * mean(diag φᵀφ) * |w|², [p, d] (diagonal: [p]); nullopt when the Gram matrix is
// singular to working precision.
std::optional<torch::Tensor> solve_ridge(const LeastSquares& sums, double ridge);

// Of some ridges the one whose solution leaves least of held-out rows.
struct BestRidge {
  torch::Tensor solution = {};  // undefined where none leaves less than there was
  double ridge = std::numeric_limits<double>::infinity();
  double error = 0;  // what is left, a mean over `elements`
};
// least: what was left before, as `error`. solve: the solution of a ridge, nullopt where there is none.
BestRidge best_ridge(const LeastSquares& held_out, double elements, double least, std::span<const double> ridges,
                     const std::function<std::optional<torch::Tensor>(double ridge)>& solve);

// The best map of rank `rank` from the sums of features (x, 1): of w, a solution of theirs [d + 1, d], the part along
// the `rank` directions in which its predictions vary most, and the bias that then fits the means. 0: the bias alone.
torch::Tensor reduced_rank(const LeastSquares& sums, const torch::Tensor& solution, std::int64_t rank);

struct ClosedFormFit {
  LayerWeights weights;
  double ridge = 0;  // relative to the mean of the Gram matrix's diagonal; infinity where nothing was better
  double error = 0, start_error = 0;  // mean squared errors over held-out elements, with it and at the start
};

// Solves for the part of `start` that replacement.closed_form names. For `output_matrix` that is the last matrix of the
// MLP, anew; for `map` and `scale` a correction T of what the MLP gives, m + m T, so that an infinite ridge changes
// nothing. Errors: unsupported for a sparse MLP (output_matrix), for a norm between the MLP and its sum, and for norms
// after the sums.
ClosedFormFit fit_closed_form(const Replacement& replacement, const Model& body, const LayerWeights& start,
                              const StateSource& states, const TokenBatches& training, const TokenBatches& validation,
                              std::int64_t micro_batch_tokens);

}  // namespace streamline
