// SPDX-License-Identifier: Apache-2.0
#include "streamline/sparse/input_sums.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "streamline/base/simd.h"
#include "streamline/prune/inside_statistics.h"

namespace streamline::sparse {
namespace {

constexpr std::int64_t kBlock = 16;     // rows that are summed in float: 16 roundings of 2^-24 are below 1e-6
constexpr std::int64_t kColumns = 256;  // that are worth another thread

// Squares of the elements [first, first + count) of rows of `width`, added to `squares`. partial: [count], scratch.
template <class Element>
SL_INLINE void add_squares_body(const Element* rows, std::int64_t height, std::int64_t width, std::int64_t count,
                                float* __restrict partial, double* __restrict squares) {
  for (std::int64_t block = 0; block < height; block += kBlock) {
    for (std::int64_t j = 0; j < count; ++j) partial[j] = 0;
    for (std::int64_t row = block; row < std::min(block + kBlock, height); ++row)
      for (std::int64_t j = 0; j < count; ++j) {
        const float value = simd::load(rows + row * width + j);
        partial[j] += value * value;
      }
    for (std::int64_t j = 0; j < count; ++j) squares[j] += static_cast<double>(partial[j]);
  }
}

#define SL_KERNELS(T)                                                                                                \
  SL_DISPATCH(                                                                                                       \
      add_squares,                                                                                                   \
      (const T* rows, std::int64_t height, std::int64_t width, std::int64_t count, float* partial, double* squares), \
      (rows, height, width, count, partial, squares))
SL_KERNELS(float)
SL_KERNELS(simd::Bf16)
#undef SL_KERNELS

// rows: [tokens, in] float or bfloat16 in one piece; squares: [in] double.
template <class Element>
void add_squares_of(const torch::Tensor& rows, torch::Tensor& squares) {
  const auto* data = static_cast<const Element*>(rows.const_data_ptr());
  auto* sums = squares.data_ptr<double>();
  at::parallel_for(0, rows.size(1), kColumns, [&](std::int64_t first, std::int64_t last) {
    std::vector<float> partial(static_cast<std::size_t>(last - first));
    add_squares(data + first, rows.size(0), rows.size(1), last - first, partial.data(), sums + first);
  });
}

}  // namespace

void InputSums::add(Role tap, std::int64_t expert, const torch::Tensor& inputs) {
  const torch::NoGradGuard no_grad;
  const auto seen = inputs.dim() == 3 ? inputs.slice(1, skip_first_) : inputs;
  auto rows = seen.detach().reshape({-1, seen.size(-1)}).to(torch::kCPU).contiguous();
  if (gram_ || rows.scalar_type() != torch::kBFloat16) rows = rows.to(torch::kFloat);
  InputSum& sum = sums_[{tap, expert}];
  sum.tokens += rows.size(0);
  if (!sum.squares.defined()) sum.squares = torch::zeros({rows.size(1)}, torch::kDouble);
  if (rows.scalar_type() == torch::kBFloat16)
    add_squares_of<simd::Bf16>(rows, sum.squares);
  else
    add_squares_of<float>(rows, sum.squares);
  if (!gram_) return;
  if (!sum.gram.defined()) sum.gram = torch::zeros({rows.size(1), rows.size(1)}, torch::kFloat);
  sum.gram.addmm_(rows.t(), rows);
}

const InputSum* InputSums::of(Role matrix, std::int64_t expert) const {
  const auto found = sums_.find({read_by(matrix), expert});
  return found == sums_.end() ? nullptr : &found->second;
}

}  // namespace streamline::sparse
