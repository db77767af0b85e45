// SPDX-License-Identifier: Apache-2.0
#include "streamline/sparse/criterion.h"

#include <ATen/Parallel.h>

#include <atomic>
#include <cmath>
#include <vector>

#include "streamline/base/error.h"
#include "streamline/base/parse_number.h"
#include "streamline/sparse/lowest.h"
#include "streamline/sparse/magnitude_at.h"

namespace streamline::sparse {
namespace {

constexpr std::int64_t kMostInGroup = 1024;
constexpr std::int64_t kGrain = 1 << 20;  // weights that are worth another thread

// Calls work with a pointer to the elements of a tensor in one piece, of float or bfloat16.
template <class Work>
void with_elements(const torch::Tensor& tensor, Work&& work) {
  SL_ASSERT(tensor.is_contiguous() && prunes_in_place(tensor.scalar_type()));
  if (tensor.scalar_type() == torch::kFloat)
    work(static_cast<float*>(tensor.data_ptr()));
  else
    work(static_cast<simd::Bf16*>(tensor.data_ptr()));
}

// Of every piece of `width` weights.
void zero_lowest_of_pieces(torch::Tensor& matrix, const torch::Tensor& scale, std::int64_t width, std::int64_t count) {
  const std::int64_t columns = matrix.size(1);
  const auto held = scale.to(torch::kCPU, torch::kFloat).contiguous();
  SL_ASSERT(matrix.dim() == 2 && held.numel() == columns && columns % width == 0);
  const auto* factors = held.const_data_ptr<float>();
  with_elements(matrix, [&](auto* data) {
    at::parallel_for(0, matrix.size(0), 1, [&](std::int64_t first, std::int64_t last) {
      std::vector<std::int32_t> scores;
      for (std::int64_t row = first; row < last; ++row)
        zero_lowest(data + row * columns, factors, columns, width, count, scores);
    });
  });
}

}  // namespace

Pattern parse_pattern(const std::string& text) {
  if (text.empty()) return {};
  const std::size_t colon = text.find(':');
  const auto kept = parse_number<std::int64_t>(std::string_view(text).substr(0, colon));
  const auto group =
      colon == std::string::npos ? std::nullopt : parse_number<std::int64_t>(std::string_view(text).substr(colon + 1));
  if (!kept || !group || *kept < 1 || *kept >= *group || *group > kMostInGroup)
    fail(ErrorKind::usage, "'", text, "' is no pattern: expected N:M, of every M weights N stay, as 2:4");
  return {*kept, *group};
}

bool prunes_in_place(torch::ScalarType type) { return type == torch::kFloat || type == torch::kBFloat16; }

void zero_smallest(torch::Tensor& matrix, double ratio) {
  SL_ASSERT(matrix.dim() == 2);
  const auto count = static_cast<std::int64_t>(std::floor(static_cast<double>(matrix.numel()) * ratio));
  if (count == 0) return;
  if (count >= matrix.numel()) {
    matrix.zero_();
    return;
  }
  with_elements(matrix, [&](auto* data) {
    const float limit = magnitude_at(data, matrix.numel(), count);
    at::parallel_for(0, matrix.numel(), kGrain,
                     [&](std::int64_t first, std::int64_t last) { zero_up_to(data + first, last - first, limit); });
  });
}

void zero_smallest_of_rows(torch::Tensor& matrix, const torch::Tensor& scale, double ratio) {
  const std::int64_t columns = matrix.size(1);
  zero_lowest_of_pieces(matrix, scale, columns,
                        static_cast<std::int64_t>(std::floor(static_cast<double>(columns) * ratio)));
}

void zero_smallest_of_groups(torch::Tensor& matrix, const torch::Tensor& scale, Pattern pattern) {
  if (matrix.size(1) % pattern.group != 0)
    fail(ErrorKind::mismatch, "a matrix of ", matrix.size(1), " columns has no whole groups of ", pattern.group);
  zero_lowest_of_pieces(matrix, scale, pattern.group, pattern.group - pattern.kept);
}

std::int64_t count_zeros(const torch::Tensor& tensor) {
  if (!tensor.is_contiguous() || !prunes_in_place(tensor.scalar_type()))
    return tensor.numel() - tensor.count_nonzero().item<std::int64_t>();
  std::atomic<std::int64_t> zeros = 0;
  with_elements(tensor, [&](const auto* data) {
    at::parallel_for(0, tensor.numel(), kGrain,
                     [&](std::int64_t first, std::int64_t last) { zeros += count_zeros(data + first, last - first); });
  });
  return zeros;
}

}  // namespace streamline::sparse
