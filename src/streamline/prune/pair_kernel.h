// SPDX-License-Identifier: Apache-2.0
// Dot products of every pair of hidden states of one token, on plain arrays: the one pass over memory that scoring
// every window costs.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace streamline {

enum class StateType { f32, bf16 };

// One token seen at every depth: row i is its hidden state h_i, `width` contiguous elements.
struct TokenStates {
  std::span<const void* const> rows;
  StateType type = StateType::f32;
  std::int64_t width = 0;
};

// Scratch of one thread, made once and used for many tokens.
class PairKernel {
 public:
  PairKernel(std::int64_t states, std::int64_t width);

  // All products <h_i, h_j>: sixteen partial sums in fp32, added in double. Equal rows give equal products, bit for
  // bit.
  void multiply(const TokenStates& token);
  double product(std::int64_t i, std::int64_t j) const { return products_[index(i <= j ? i : j, i <= j ? j : i)]; }

 private:
  std::size_t index(std::int64_t i, std::int64_t j) const { return static_cast<std::size_t>(i * padded_ + j); }
  void gather(const TokenStates& token, std::int64_t first, std::int64_t count, std::int64_t stride);
  std::int64_t states_, padded_, slice_;
  std::vector<float> rows_;       // [padded, slice], widened
  std::vector<float> sums_;       // [tiles with i <= j, 4, 4, lanes]
  std::vector<double> products_;  // [padded, padded], upper triangle
};

// |b - a|^2, subtracting first: exact where the states are close and the dot products cancel.
double squared_distance(const TokenStates& token, std::int64_t i, std::int64_t j);

}  // namespace streamline
