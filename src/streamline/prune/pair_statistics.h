// SPDX-License-Identifier: Apache-2.0
// What one sequence says of every pair of its hidden states.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "streamline/nn/torch.h"

namespace streamline {

// Matrices over states 0 … S-1, [S, S] row-major, means over the sequence's tokens.
struct PairStatistics {
  std::int64_t states = 0, tokens = 0;
  std::vector<double> cosine = {};       // symmetric; a token whose h_i or h_j is zero counts as 0
  std::vector<double> relative_l2 = {};  // |h_j - h_i| / |h_i| for i < j, else 0; a token whose h_i is zero counts as 0
  std::vector<double> norms = {};        // |h_i| of each token, [S, tokens]
  // Angular distances arccos(cos) / pi, symmetric, 0 on the diagonal; 1/2 with a zero vector: the mean over tokens, of
  // which states of one direction but different norms are 1e-4 off, and that of the last token, exact.
  std::vector<double> angular = {}, angular_last = {};
};

// states: S tensors [tokens, hidden] of one sequence. On the CPU with fused kernels, else with tensor expressions.
// Identical states have a cosine of exactly 1 and a distance of exactly 0. NaN and infinity pass into the norms.
PairStatistics pair_statistics(std::span<const torch::Tensor> states);

// The same in float64 tensor expressions on any device: what the kernels are tested against.
PairStatistics pair_statistics_by_tensors(std::span<const torch::Tensor> states);

}  // namespace streamline
