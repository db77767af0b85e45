// SPDX-License-Identifier: Apache-2.0
// Sequences of any lengths laid one behind the other, without padding; what several begin with is laid down once.
#pragma once

#include <vector>

#include "streamline/nn/torch.h"

namespace streamline {

// A run of tokens that continues another run, its parent; a token sees its own run up to itself, its parent, its
// parent's parent, …
struct PackedPiece {
  std::int64_t first = 0, count = 0;  // rows of the packed batch
  std::int64_t parent = -1;           // index of an earlier piece; -1: a beginning
  std::int64_t position = 0;          // of its first token in its sequence: the tokens of all ancestors
};

struct Packing {
  std::vector<PackedPiece> pieces;  // in the order of their rows, which they cover without gaps

  std::int64_t rows() const { return pieces.empty() ? 0 : pieces.back().first + pieces.back().count; }
};

// The position of every row, [rows] int64 on the CPU.
torch::Tensor packed_positions(const Packing& packing);

// A piece and its ancestors, the outermost first.
std::vector<std::int64_t> lineage(const Packing& packing, std::int64_t piece);

}  // namespace streamline
