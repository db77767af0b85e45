// SPDX-License-Identifier: Apache-2.0
// What the matrices of a layer read, summed up over a text.
#pragma once

#include <map>
#include <utility>

#include "streamline/prune/inside_statistics.h"

namespace streamline::sparse {

struct InputSum {
  ReadMoments moments = {};
  torch::Tensor gram = {};  // [in, in] float, of x x^T; undefined where it is not asked for
};

class InputSums {
 public:
  // skip_first: leading positions of each sequence (BOS) that are not summed up.
  explicit InputSums(bool gram, std::int64_t skip_first = 0) : gram_(gram), skip_first_(skip_first) {}

  // inputs: [batch, seq, in]; [tokens, in] of experts, whose tokens have lost their places, so that none is left out.
  // Of one expert where `expert` >= 0.
  void add(Role tap, std::int64_t expert, const torch::Tensor& inputs);
  // What a matrix reads; nullptr where nothing was seen, of an expert that no token was sent to.
  const InputSum* of(Role matrix, std::int64_t expert) const;

 private:
  bool gram_;
  std::int64_t skip_first_;
  std::map<std::pair<Role, std::int64_t>, InputSum> sums_;
};

}  // namespace streamline::sparse
