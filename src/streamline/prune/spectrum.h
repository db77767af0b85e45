// SPDX-License-Identifier: Apache-2.0
// The eigenvalues of W^T W of one matrix, and the exponent of the power law that their tail follows (AlphaPruning,
// Lu et al., arXiv 2410.10912; estimator of Hill, 1975). A small exponent, a heavy tail, is read as a well trained
// matrix.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "streamline/base/random.h"
#include "streamline/nn/torch.h"

namespace streamline {

// Where the tail begins.
enum class TailStart {
  peak,      // by the smallest Kolmogorov-Smirnov distance among starts near the peak of the density; as released
  peak_log,  // the same with the released code's lower bound, a logarithm held against values: depends on the scale
  middle,    // at the median
};
TailStart parse_tail(std::string_view name);  // "peak", "peak-released", "middle"; errors: usage

struct Exponent {
  double alpha = 0;       // of the density p(x) ~ x^-alpha
  double distance = 0;    // Kolmogorov-Smirnov, between the tail and the law
  double start = 0;       // the smallest eigenvalue of the tail
  std::int64_t tail = 0;  // eigenvalues in it
};

// Ascending squares of the singular values of `matrix` ([out, in], any type; computed in fp32), not divided by its
// size. Those that are nothing but rounding (below 1e-10 of the largest) are left out. A matrix whose smaller side is
// longer than `largest_side` is represented by random rows and columns, as many of each as keep its proportions, drawn
// with `seed`. Errors: numeric for values that are not finite.
std::vector<double> eigenvalues(const torch::Tensor& matrix, std::int64_t largest_side, std::uint64_t seed);

// The exponent of the tail that begins at the eigenvalue `start`, which counts itself (so the released code; the
// paper's own formula leaves it out). `ascending`: positive.
Exponent hill(const std::vector<double>& ascending, std::size_t start);

// Errors: numeric when there are fewer than two eigenvalues, or no start near the peak gives a law.
Exponent tail_exponent(const std::vector<double>& ascending, TailStart tail);

}  // namespace streamline
