// SPDX-License-Identifier: Apache-2.0
// Which weights of one matrix go: by magnitude, or by magnitude times the size of what they multiply (Wanda, Sun et
// al., arXiv 2306.11695). Both leave the others as they are.
#pragma once

#include <cstdint>
#include <string>

#include "streamline/nn/torch.h"

namespace streamline::sparse {

// Of every `group` weights of a row side by side, `kept` stay (2 of 4 is what tensor cores skip); group 0: no pattern.
struct Pattern {
  std::int64_t kept = 0, group = 0;

  bool operator==(const Pattern&) const = default;
};
Pattern parse_pattern(const std::string& text);  // "2:4"; empty: none; errors: usage

// In place, of a matrix [out, in] on the CPU in one piece, on all threads, whose number changes nothing. `ratio` in
// [0, 1].

// The types that these take.
bool prunes_in_place(torch::ScalarType type);

// Every weight that is not above the value at the place floor(ratio * weights) of the sorted magnitudes, as the
// released code of AlphaPruning has it: one more than that many, and of equal ones all, wherever they lie. None where
// that is none. What is no number stands behind all others and stays, but all goes at a ratio of 1.
void zero_smallest(torch::Tensor& matrix, double ratio);

// Of every row the floor(ratio * in) weights of the lowest |w| * scale, of equal ones the first. scale: [in], not
// negative.
void zero_smallest_of_rows(torch::Tensor& matrix, const torch::Tensor& scale, double ratio);

// Of every group of a row those of the lowest |w| * scale, of equal ones the first. Errors: mismatch where `in` is no
// multiple of the group.
void zero_smallest_of_groups(torch::Tensor& matrix, const torch::Tensor& scale, Pattern pattern);

std::int64_t count_zeros(const torch::Tensor& tensor);

}  // namespace streamline::sparse
