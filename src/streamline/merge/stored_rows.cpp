// SPDX-License-Identifier: Apache-2.0
#include "streamline/merge/stored_rows.h"

#include <numeric>

#include "streamline/io/tensor_values.h"
#include "streamline/merge/block_arithmetic.h"

namespace streamline::merge {

Grid grid_of(const TensorMerge& merge) {
  constexpr std::int64_t kElements = std::int64_t{1} << 13;
  const std::vector<std::int64_t>& shape = merge.header.shape;
  Grid grid{.width = shape.empty() ? 1 : shape.back()};
  grid.rows =
      shape.size() < 2 ? 1 : std::accumulate(shape.begin(), shape.end() - 1, std::int64_t{1}, std::multiplies());
  grid.step = std::max<std::int64_t>(1, kElements / std::max<std::int64_t>(grid.width, 1));
  grid.blocks = (grid.rows + grid.step - 1) / grid.step;
  return grid;
}

namespace {

// A row that the tensor itself lacks.
void read_row_beyond(const Stored& stored, std::int64_t row, std::span<float> to) {
  std::vector<float> values(to.size());
  std::ranges::fill(to, 0.0f);
  int count = 0;
  for (const Stored& other : stored.beyond) {
    if (row >= row_count(*other.tensor) && other.beyond.empty()) continue;
    read_values(other, {.index = 0, .first = row, .rows = 1, .width = static_cast<std::int64_t>(to.size())}, values);
    add(values, to);
    ++count;
  }
  divide(to, count);
}

}  // namespace

void read_values(const Stored& stored, const Block& block, std::span<float> to) {
  const std::int64_t own = std::clamp(row_count(*stored.tensor) - block.first, std::int64_t{0}, block.rows);
  const std::span<float> rows = to.first(static_cast<std::size_t>(own * block.width));
  if (own > 0) read_rows(*stored.checkpoint, *stored.tensor, block.first, own, rows);
  if (own > 0 && stored.update) stored.update(block.first, own, rows);
  for (std::int64_t row = own; row < block.rows; ++row)
    read_row_beyond(stored, block.first + row,
                    to.subspan(static_cast<std::size_t>(row * block.width), static_cast<std::size_t>(block.width)));
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

std::span<float> TaskVectorReader::read(const Block& block) {
  base.resize(static_cast<std::size_t>(block.elements()));
  values.resize(base.size());
  read_values(merge.base, block, base);
  read_task_vector(operand, block, base, values);
  return values;
}

const simd::Bf16* bf16_numbers(const Stored& stored, const TensorHeader& header) {
  if (stored.tensor == nullptr || stored.update || !stored.tensor->is_plain() || stored.tensor->dtype != DType::bf16 ||
      stored.tensor->shape != header.shape)
    return nullptr;
  const std::byte* bytes = stored.checkpoint->bytes(*stored.tensor).data();
  const bool aligned = reinterpret_cast<std::uintptr_t>(bytes) % sizeof(simd::Bf16) == 0;
  return aligned ? reinterpret_cast<const simd::Bf16*>(bytes) : nullptr;
}

}  // namespace streamline::merge
