// SPDX-License-Identifier: Apache-2.0
#include "streamline/merge/stored_rows.h"

#include "streamline/io/tensor_values.h"
#include "streamline/merge/block_arithmetic.h"

namespace streamline::merge {

Grid grid_of(const TensorMerge& merge) {
  constexpr std::int64_t kElements = std::int64_t{1} << 15;
  const std::vector<std::int64_t>& shape = merge.header.shape;
  Grid grid{.width = shape.empty() ? 1 : shape.back()};
  grid.rows = row_count(*merge.operands.front().stored.tensor);
  grid.step = std::max<std::int64_t>(1, kElements / std::max<std::int64_t>(grid.width, 1));
  grid.blocks = (grid.rows + grid.step - 1) / grid.step;
  return grid;
}

void read_values(const Stored& stored, const Block& block, std::span<float> to) {
  read_rows(*stored.checkpoint, *stored.tensor, block.first, block.rows, to);
  if (stored.update) stored.update(block.first, block.rows, to);
}

void read_task_vector(const Operand& operand, const Block& block, std::span<const float> base, std::span<float> to) {
  if (operand.beside_base) {
    std::ranges::fill(to, 0.0f);
    if (operand.stored.update) operand.stored.update(block.first, block.rows, to);
  } else {
    read_values(operand.stored, block, to);
    subtract(base, to);
  }
}

}  // namespace streamline::merge
