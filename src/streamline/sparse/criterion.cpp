// SPDX-License-Identifier: Apache-2.0
#include "streamline/sparse/criterion.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "streamline/base/error.h"
#include "streamline/base/parse_number.h"

namespace streamline::sparse {
namespace {

constexpr std::int64_t kMostInGroup = 1024;
constexpr std::size_t kBins = 4096;  // of the first twelve bits of a float
constexpr std::int64_t kFew = 128;   // weights of which sorting costs less than counting

void check_matrix(const torch::Tensor& matrix) {
  SL_ASSERT(matrix.dim() == 2 && matrix.scalar_type() == torch::kFloat && matrix.is_contiguous());
}

// Where a thread sorts.
struct Workspace {
  std::vector<std::pair<float, std::int64_t>> order;
  std::vector<float> scores, candidates;
  std::vector<std::int64_t> counts = std::vector<std::int64_t>(kBins);
};

// Zeroes the `count` lowest of a few weights that lie side by side; of equal ones the first.
void zero_lowest_of_few(float* weights, const float* scale, std::int64_t width, std::int64_t count, Workspace& work) {
  work.order.clear();
  for (std::int64_t i = 0; i < width; ++i) work.order.emplace_back(std::abs(weights[i]) * scale[i], i);
  const auto last = work.order.begin() + count;
  std::nth_element(work.order.begin(), last - 1, work.order.end());
  for (auto entry = work.order.begin(); entry != last; ++entry) weights[entry->second] = 0;
}

// Numbers that are not negative are in the order of their bits; the first bits, exponent and three more, are a bin.
std::size_t bin(float score) { return std::bit_cast<std::uint32_t>(score) >> 20; }

// The `count`-th lowest score: the bin that it lies in by counting, then in that bin.
float threshold_of(std::int64_t count, Workspace& work) {
  std::ranges::fill(work.counts, 0);
  for (const float score : work.scores) ++work.counts[bin(score)];
  std::size_t here = 0;
  for (; work.counts[here] < count; ++here) count -= work.counts[here];
  work.candidates.clear();
  for (const float score : work.scores)
    if (bin(score) == here) work.candidates.push_back(score);
  const auto wanted = work.candidates.begin() + (count - 1);
  std::nth_element(work.candidates.begin(), wanted, work.candidates.end());
  return *wanted;
}

// Zeroes the `count` lowest of `width` weights that lie side by side; of equal ones the first.
void zero_lowest(float* weights, const float* scale, std::int64_t width, std::int64_t count, Workspace& work) {
  count = std::min(count, width);
  if (count <= 0) return;
  if (width < kFew) return zero_lowest_of_few(weights, scale, width, count, work);
  work.scores.resize(static_cast<std::size_t>(width));
  for (std::int64_t i = 0; i < width; ++i) work.scores[static_cast<std::size_t>(i)] = std::abs(weights[i]) * scale[i];
  const float threshold = threshold_of(count, work);
  std::int64_t equal = count - std::ranges::count_if(work.scores, [&](float score) { return score < threshold; });
  for (std::int64_t i = 0; i < width; ++i) {
    const float score = work.scores[static_cast<std::size_t>(i)];
    if (score < threshold || (score == threshold && equal-- > 0)) weights[i] = 0;
  }
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
    Workspace work;
    for (std::int64_t row = first; row < last; ++row)
      for (std::int64_t piece = 0; piece < pieces; ++piece)
        zero_lowest(data + row * columns + piece * width, factors + piece * width, width, count, work);
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
