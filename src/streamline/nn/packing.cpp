// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/packing.h"

#include <algorithm>

namespace streamline {

torch::Tensor packed_positions(const Packing& packing) {
  auto positions = torch::empty({packing.rows()}, torch::kLong);
  auto* out = positions.data_ptr<std::int64_t>();
  for (const PackedPiece& piece : packing.pieces)
    for (std::int64_t i = 0; i < piece.count; ++i) *out++ = piece.position + i;
  return positions;
}

std::vector<std::int64_t> lineage(const Packing& packing, std::int64_t piece) {
  std::vector<std::int64_t> result;
  for (; piece >= 0; piece = packing.pieces[static_cast<std::size_t>(piece)].parent) result.push_back(piece);
  std::reverse(result.begin(), result.end());
  return result;
}

}  // namespace streamline
