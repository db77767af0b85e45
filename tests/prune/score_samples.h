// SPDX-License-Identifier: Apache-2.0
// Scores made by hand, and what the tests of scores share.
#pragma once

#include <string>
#include <vector>

#include "heal/pico.h"
#include "streamline/prune/scores.h"

namespace streamline::test {

// The layer of a tensor, -1 for those of the whole model.
inline std::int64_t layer_of(const ExpectedTensor& tensor) {
  const std::string prefix = "model.layers.";
  return tensor.name.starts_with(prefix) ? std::stoll(tensor.name.substr(prefix.size())) : -1;
}

// Scores whose windows of `count` layers have these cosines, by start; every other cosine is 0, every norm 1.
inline Scores scores_with(std::int64_t layers, std::int64_t count, const std::vector<double>& cosines) {
  Scores scores;
  scores.layers = layers;
  scores.cosine.assign(static_cast<std::size_t>((layers + 1) * (layers + 1)), 0.0);
  scores.relative_l2 = scores.angular_last = scores.angular_all = scores.cosine;
  scores.states.assign(static_cast<std::size_t>(layers + 1), LayerNorms{1, 1});
  scores.sequences = scores.tokens = 1;
  for (std::size_t start = 0; start < cosines.size(); ++start) {
    scores.cosine[start * static_cast<std::size_t>(layers + 2) + static_cast<std::size_t>(count)] = cosines[start];
  }
  return scores;
}

}  // namespace streamline::test
