// SPDX-License-Identifier: Apache-2.0
#include "streamline/io/tensor_values.h"

#include <algorithm>
#include <vector>

#include "streamline/base/error.h"
#include "streamline/io/dequantize.h"

namespace streamline {
namespace {

std::int64_t row_width(const TensorInfo& tensor) { return tensor.shape.empty() ? 1 : tensor.shape.back(); }

// Where row `row` is stored. Heads are rows of a matrix but elements of a bias.
std::int64_t stored_row(const TensorInfo& tensor, std::int64_t row, std::int64_t rows) {
  const std::int64_t head_dim = rows / tensor.interleaved_heads, half = head_dim / 2;
  const std::int64_t head = row / head_dim, within = row % head_dim;
  return head * head_dim + within % half * 2 + within / half;
}

std::uint64_t row_bytes(const TensorInfo& tensor) {
  const DTypeBlock block = dtype_block(tensor.dtype);
  return static_cast<std::uint64_t>(row_width(tensor)) / block.elements * block.bytes;
}

void read_interleaved(const Checkpoint& checkpoint, const TensorInfo& tensor, std::int64_t first, std::int64_t count,
                      std::span<float> to) {
  const bool bias = tensor.shape.size() == 1;
  const std::int64_t rows = tensor.shape.front();
  const std::uint64_t width = bias ? 1 : static_cast<std::uint64_t>(row_width(tensor));
  const std::uint64_t bytes = bias ? dtype_size(tensor.dtype) : row_bytes(tensor);
  const std::int64_t units = bias ? count * rows : count;
  for (std::int64_t i = 0; i < units; ++i) {
    const auto from = static_cast<std::uint64_t>(stored_row(tensor, first + i, rows));
    dequantize(tensor.dtype, checkpoint.bytes(tensor).subspan(from * bytes, bytes),
               to.subspan(static_cast<std::uint64_t>(i) * width, width));
  }
}

// Multiplies rows `first` on by their factors; a row of blocks has as many factors as the row has blocks.
void apply_factors(const Checkpoint& checkpoint, const TensorInfo& tensor, std::int64_t first, std::span<float> rows) {
  const TensorInfo& factors = checkpoint.at(tensor.factors);
  const std::span<const std::byte> bytes = checkpoint.bytes(factors);
  const std::size_t size = dtype_size(factors.dtype);
  const std::int64_t width = row_width(tensor), across = (width + tensor.factor_columns - 1) / tensor.factor_columns;
  std::vector<float> scales(static_cast<std::size_t>(across));
  std::int64_t read = -1;  // the row of blocks that they are of
  for (std::int64_t start = 0; start < static_cast<std::int64_t>(rows.size()); start += width) {
    const std::int64_t block_row = (first + start / width) / tensor.factor_rows;
    for (std::int64_t block = 0; block < across; ++block) {
      float& scale = scales[static_cast<std::size_t>(block)];
      if (block_row != read)
        scale = load_float(factors.dtype, bytes.data() + static_cast<std::size_t>(block_row * across + block) * size);
      const std::int64_t begin = block * tensor.factor_columns, end = std::min(width, begin + tensor.factor_columns);
      for (float& value : rows.subspan(static_cast<std::size_t>(start + begin), static_cast<std::size_t>(end - begin)))
        value *= scale;
    }
    read = block_row;
  }
}

}  // namespace

std::int64_t row_count(const TensorInfo& tensor) {
  const std::int64_t width = row_width(tensor);
  return width == 0 ? 0 : tensor.elements() / width;
}

void read_rows(const Checkpoint& checkpoint, const TensorInfo& tensor, std::int64_t first, std::int64_t count,
               std::span<float> to) {
  SL_ASSERT(first >= 0 && count >= 0 && count <= row_count(tensor) - first);
  SL_ASSERT(to.size() == static_cast<std::uint64_t>(count * row_width(tensor)));
  if (tensor.interleaved_heads > 0) {
    read_interleaved(checkpoint, tensor, first, count, to);
  } else {
    const std::uint64_t bytes = row_bytes(tensor);
    dequantize(tensor.dtype,
               checkpoint.bytes(tensor).subspan(static_cast<std::uint64_t>(first) * bytes,
                                                static_cast<std::uint64_t>(count) * bytes),
               to);
  }
  if (!tensor.factors.empty()) apply_factors(checkpoint, tensor, first, to);
  if (tensor.stored_offset != 0)
    for (float& value : to) value -= tensor.stored_offset;
}

}  // namespace streamline
