// SPDX-License-Identifier: Apache-2.0
// What the matrices of a layer read, summed up over a text.
#pragma once

#include <map>

#include "streamline/nn/weights.h"

namespace streamline::sparse {

struct InputSum {
  torch::Tensor squares = {};  // [in] double, of each component
  torch::Tensor gram = {};     // [in, in] float, of x x^T; undefined where it is not asked for
};

class InputSums {
 public:
  explicit InputSums(bool gram) : gram_(gram) {}

  void add(Role tap, const torch::Tensor& inputs);  // [..., in]
  // What a matrix reads. Errors: internal where nothing was seen.
  const InputSum& of(Role matrix) const;

 private:
  bool gram_;
  std::map<Role, InputSum> sums_;
};

}  // namespace streamline::sparse
