// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/mapped.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>

#include "streamline/io/tensor_values.h"

namespace streamline {
namespace {

constexpr std::int64_t kElementsATask = 1 << 16;  // at least; a task costs about as much as reading a tenth of them

// Rows of this width a task.
std::int64_t grain(std::int64_t width) {
  return std::max<std::int64_t>(1, kElementsATask / std::max<std::int64_t>(1, width));
}

// Read in parts that stay in the processor's cache: written and read again as float32, a large matrix would cost more
// than the reading itself.
void read_converted(const Checkpoint& checkpoint, const TensorInfo& info, std::int64_t begin, std::int64_t end,
                    torch::Tensor& matrix) {
  const std::int64_t width = matrix.size(1), step = grain(width);
  std::vector<float> part(static_cast<std::size_t>(step * width));
  for (std::int64_t first = begin; first < end; first += step) {
    const std::int64_t count = std::min(step, end - first);
    read_rows(checkpoint, info, first, count, std::span(part).first(static_cast<std::size_t>(count * width)));
    matrix.narrow(0, first, count).copy_(torch::from_blob(part.data(), {count, width}, torch::kFloat));
  }
}

std::span<float> rows_of(torch::Tensor& tensor, std::int64_t first, std::int64_t count, std::int64_t width) {
  return {tensor.data_ptr<float>() + first * width, static_cast<std::size_t>(count * width)};
}

torch::Tensor read_values(const Checkpoint& checkpoint, const TensorInfo& info, torch::ScalarType type) {
  auto values = torch::empty(info.shape, type);
  const std::int64_t rows = row_count(info), width = rows == 0 ? 0 : info.elements() / rows;
  auto matrix = values.view({rows, width});
  at::parallel_for(0, rows, grain(width), [&](std::int64_t begin, std::int64_t end) {
    if (type != torch::kFloat) return read_converted(checkpoint, info, begin, end, matrix);
    read_rows(checkpoint, info, begin, end - begin, rows_of(values, begin, end - begin, width));
  });
  return values;
}

}  // namespace

torch::ScalarType mapped_type(const TensorInfo& info) {
  return info.is_plain() ? scalar_type(info.dtype) : torch::kFloat;
}

torch::Tensor mapped_tensor(std::shared_ptr<const Checkpoint> checkpoint, const TensorInfo& info,
                            torch::ScalarType type) {
  if (!info.is_plain()) return read_values(*checkpoint, info, type);
  const auto bytes = checkpoint->bytes(info);
  const auto options = torch::TensorOptions(scalar_type(info.dtype));
  const bool aligned = reinterpret_cast<std::uintptr_t>(bytes.data()) % dtype_size(info.dtype) == 0;
  if (bytes.empty() || !aligned) {
    auto copy = torch::empty(info.shape, options);
    if (!bytes.empty()) std::memcpy(copy.data_ptr(), bytes.data(), bytes.size());
    return copy;
  }
  void* data = const_cast<std::byte*>(bytes.data());  // torch has no tensors of const
  return torch::from_blob(
      data, info.shape, [keep = std::move(checkpoint)](void*) {}, options);
}

torch::Tensor mapped_rows(const std::shared_ptr<const Checkpoint>& checkpoint, const TensorInfo& info,
                          const torch::Tensor& ids) {
  if (info.is_plain()) return torch::embedding(mapped_tensor(checkpoint, info), ids);
  const auto flat = ids.reshape({-1}).contiguous();
  const std::int64_t width = info.shape.back();
  auto rows = torch::empty({flat.numel(), width}, torch::kFloat);
  at::parallel_for(0, flat.numel(), grain(width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      read_rows(*checkpoint, info, flat.data_ptr<std::int64_t>()[i], 1, rows_of(rows, i, 1, width));
  });
  auto shape = ids.sizes().vec();
  shape.push_back(width);
  return rows.reshape(shape);
}

}  // namespace streamline
