// SPDX-License-Identifier: Apache-2.0
// What the matrices inside layers read of a text: sums by component from one sweep, nothing that grows with the text.
#pragma once

#include <map>
#include <utility>

#include "streamline/engine/sweep.h"

namespace streamline {

// Of what one matrix reads, by component, fp64.
struct ReadMoments {
  torch::Tensor sum = {}, squares = {};  // [in], over tokens
  std::int64_t tokens = 0;

  void add(const torch::Tensor& read);                    // [tokens, in] or [batch, seq, in]
  torch::Tensor norms() const { return squares.sqrt(); }  // ||X_j||_2
  torch::Tensor mean() const { return sum / static_cast<double>(tokens); }
  torch::Tensor variance() const { return (squares / static_cast<double>(tokens) - mean().square()).clamp_min(0); }
};

// By role (q, o, up, down, shared_up, shared_down, as InnerTap has them) and expert, -1 outside experts; of one layer.
using LayerReads = std::map<std::pair<Role, std::int64_t>, ReadMoments>;

// Of every layer, of the text that the ranks share. Leading positions that enter no statistic are left out but for what
// experts read, whose tokens have lost their places. An expert that no token was sent to has zeros.
std::vector<LayerReads> read_moments(const Model& model, const TokenBatches& text, const SweepOptions& options);

// What a matrix of this role reads: q for q, k, v and qkv, up for gate, up and gate_up, of an expert too.
Role read_by(Role role);

}  // namespace streamline
