// SPDX-License-Identifier: Apache-2.0
#include "streamline/sparse/sparse_gpt.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "streamline/base/error.h"
#include "streamline/sparse/magnitude_at.h"

namespace streamline::sparse {
namespace {

// The upper Cholesky factor of the inverse, float.
torch::Tensor inverse_factor(torch::Tensor gram, double damping) {
  const double mean = gram.diagonal().mean().item<double>();
  gram.diagonal().add_(damping * mean);
  for (const auto type : {torch::kFloat, torch::kDouble}) {
    const auto [lower, failed] = at::linalg_cholesky_ex(gram.to(type));
    if (failed.item<std::int64_t>() != 0) continue;
    const auto [upper, singular] = at::linalg_cholesky_ex(at::cholesky_inverse(lower), /*upper=*/true);
    if (singular.item<std::int64_t>() == 0) return upper.to(torch::kFloat).contiguous();
  }
  fail(ErrorKind::numeric, "the inputs of a matrix of ", gram.size(0),
       " columns leave its Gram matrix singular; take more calibration text or a larger damping");
}

// A slab of columns on its way. factor: rows of the inverse's factor that belong to it, a square.
struct Slab {
  float* weights;       // [rows, width], changed and pruned
  float* errors;        // [rows, width], what the columns behind make up for
  const float* factor;  // [width, width], upper
  std::int64_t width;
};

// Prunes one row of a slab. goes(column, row weights) decides when the columns before have made their updates.
template <class Goes>
void prune_row(const Slab& slab, std::int64_t row, Goes&& goes) {
  float* weights = slab.weights + row * slab.width;
  float* errors = slab.errors + row * slab.width;
  for (std::int64_t column = 0; column < slab.width; ++column) {
    const float* factor = slab.factor + column * slab.width;
    const bool gone = goes(column, weights);
    const float error = gone ? weights[column] / factor[column] : 0.0F;
    errors[column] = error;
    if (!gone) continue;
    for (std::int64_t later = column + 1; later < slab.width; ++later) weights[later] -= error * factor[later];
    weights[column] = 0;
  }
}

float salience(float weight, float diagonal) { return weight * weight / (diagonal * diagonal); }

// The value at the place floor(ratio * weights) of the sorted saliences of a slab; what is not above it goes.
float slab_threshold(const Slab& slab, std::int64_t rows, double ratio) {
  const std::int64_t count = rows * slab.width;
  const auto place = static_cast<std::int64_t>(std::floor(static_cast<double>(count) * ratio));
  if (place == 0) return -1;
  if (place >= count) return INFINITY;
  std::vector<float> all(static_cast<std::size_t>(count));
  at::parallel_for(0, rows, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row)
      for (std::int64_t column = 0; column < slab.width; ++column)
        all[static_cast<std::size_t>(row * slab.width + column)] =
            salience(slab.weights[row * slab.width + column], slab.factor[column * slab.width + column]);
  });
  return magnitude_at(all.data(), count, place);
}

void prune_by_ratio(const Slab& slab, std::int64_t rows, double ratio) {
  const float threshold = slab_threshold(slab, rows, ratio);
  at::parallel_for(0, rows, 1, [&](std::int64_t first, std::int64_t last) {
    std::vector<char> marks(static_cast<std::size_t>(slab.width));
    for (std::int64_t row = first; row < last; ++row) {
      for (std::int64_t column = 0; column < slab.width; ++column)
        marks[static_cast<std::size_t>(column)] =
            salience(slab.weights[row * slab.width + column], slab.factor[column * slab.width + column]) <= threshold;
      prune_row(slab, row,
                [&](std::int64_t column, const float*) { return marks[static_cast<std::size_t>(column)] != 0; });
    }
  });
}

// Each group is decided when its first column is reached.
void prune_by_pattern(const Slab& slab, std::int64_t rows, Pattern pattern) {
  at::parallel_for(0, rows, 1, [&](std::int64_t first, std::int64_t last) {
    std::vector<char> marks(static_cast<std::size_t>(pattern.group));
    std::vector<std::pair<float, std::int64_t>> order;
    for (std::int64_t row = first; row < last; ++row)
      prune_row(slab, row, [&](std::int64_t column, const float* weights) {
        if (column % pattern.group == 0) {
          order.clear();
          for (std::int64_t i = column; i < column + pattern.group; ++i)
            order.emplace_back(salience(weights[i], slab.factor[i * slab.width + i]), i - column);
          std::ranges::sort(order);
          std::ranges::fill(marks, 0);
          for (std::int64_t i = 0; i < pattern.group - pattern.kept; ++i)
            marks[static_cast<std::size_t>(order[static_cast<std::size_t>(i)].second)] = 1;
        }
        return marks[static_cast<std::size_t>(column % pattern.group)] != 0;
      });
  });
}

}  // namespace

SparseGptInputs sparse_gpt_inputs(const torch::Tensor& gram, double damping) {
  const torch::NoGradGuard no_grad;
  auto own = gram.to(torch::kFloat).clone();
  const auto dead = own.diagonal().eq(0);
  own.diagonal().masked_fill_(dead, 1);
  return {inverse_factor(std::move(own), damping), dead};
}

void sparse_gpt(torch::Tensor& matrix, const SparseGptInputs& inputs, const SparseGptOptions& options) {
  const torch::NoGradGuard no_grad;
  const std::int64_t rows = matrix.size(0), columns = matrix.size(1);
  const torch::Tensor& factor = inputs.factor;
  SL_ASSERT(matrix.scalar_type() == torch::kFloat && matrix.is_contiguous() && factor.size(0) == columns);
  const Pattern pattern = options.pattern;
  if (pattern.group > 0 && columns % pattern.group != 0)
    fail(ErrorKind::mismatch, "a matrix of ", columns, " columns has no whole groups of ", pattern.group);
  matrix.masked_fill_(inputs.dead.unsqueeze(0), 0);
  // Slabs hold whole groups.
  const std::int64_t block =
      pattern.group > 0 ? std::max(options.block / pattern.group, std::int64_t{1}) * pattern.group : options.block;
  for (std::int64_t first = 0; first < columns; first += block) {
    const std::int64_t width = std::min(block, columns - first), behind = first + width;
    auto weights = matrix.narrow(1, first, width).contiguous();
    auto errors = torch::empty_like(weights);
    const auto square = factor.narrow(0, first, width).narrow(1, first, width).contiguous();
    const Slab slab{weights.data_ptr<float>(), errors.data_ptr<float>(), square.const_data_ptr<float>(), width};
    if (pattern.group > 0)
      prune_by_pattern(slab, rows, pattern);
    else
      prune_by_ratio(slab, rows, options.ratio);
    matrix.narrow(1, first, width).copy_(weights);
    if (behind < columns)
      matrix.narrow(1, behind, columns - behind)
          .addmm_(errors, factor.narrow(0, first, width).narrow(1, behind, columns - behind), 1, -1);
  }
}

}  // namespace streamline::sparse
