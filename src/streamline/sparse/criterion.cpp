// SPDX-License-Identifier: Apache-2.0
#include "streamline/sparse/criterion.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "streamline/base/error.h"
#include "streamline/base/parse_number.h"

namespace streamline::sparse {
namespace {

constexpr std::int64_t kMostInGroup = 1024;

void check_matrix(const torch::Tensor& matrix) {
  SL_ASSERT(matrix.dim() == 2 && matrix.scalar_type() == torch::kFloat && matrix.is_contiguous());
}

// Zeroes the `count` lowest of `width` weights that lie side by side.
void zero_lowest(float* weights, const float* scale, std::int64_t width, std::int64_t count,
                 std::vector<std::pair<float, std::int64_t>>& order) {
  if (count <= 0) return;
  order.clear();
  for (std::int64_t i = 0; i < width; ++i) order.emplace_back(std::abs(weights[i]) * scale[i], i);
  const auto last = order.begin() + std::min(count, width);
  std::nth_element(order.begin(), last - 1, order.end());
  for (auto entry = order.begin(); entry != last; ++entry) weights[entry->second] = 0;
}

// Of every piece of `width` weights.
void zero_lowest_of_pieces(torch::Tensor& matrix, const torch::Tensor& scale, std::int64_t width, std::int64_t count) {
  check_matrix(matrix);
  const std::int64_t columns = matrix.size(1), pieces = columns / width;
  const auto held = scale.to(torch::kCPU, torch::kFloat).contiguous();
  SL_ASSERT(held.numel() == columns && pieces * width == columns);
  auto* data = matrix.data_ptr<float>();
  const auto* factors = held.const_data_ptr<float>();
  at::parallel_for(0, matrix.size(0), 1, [&](std::int64_t first, std::int64_t last) {
    std::vector<std::pair<float, std::int64_t>> order;
    for (std::int64_t row = first; row < last; ++row)
      for (std::int64_t piece = 0; piece < pieces; ++piece)
        zero_lowest(data + row * columns + piece * width, factors + piece * width, width, count, order);
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

void zero_smallest(torch::Tensor& matrix, double ratio) {
  check_matrix(matrix);
  const auto count = static_cast<std::int64_t>(std::floor(static_cast<double>(matrix.numel()) * ratio));
  if (count == 0) return;
  if (count >= matrix.numel()) {
    matrix.zero_();
    return;
  }
  std::vector<float> sizes(static_cast<std::size_t>(matrix.numel()));
  auto* data = matrix.data_ptr<float>();
  std::transform(data, data + matrix.numel(), sizes.begin(), [](float weight) { return std::abs(weight); });
  std::nth_element(sizes.begin(), sizes.begin() + count, sizes.end());
  const float threshold = sizes[static_cast<std::size_t>(count)];
  std::transform(data, data + matrix.numel(), data,
                 [&](float weight) { return std::abs(weight) <= threshold ? 0.0F : weight; });
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

}  // namespace streamline::sparse
