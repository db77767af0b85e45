// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/column_sums.h"

#include "streamline/nn/kernel_walk.h"

namespace streamline {
namespace {

constexpr std::int64_t kStrip = 64;  // columns, of which a thread has whole strips: no line of the sums has two writers

template <class T>
SL_INLINE void add_rows_body(const T* x, std::int64_t rows, std::int64_t stride, std::int64_t columns,
                             double* __restrict sums, double* __restrict squares) {
  for (std::int64_t row = 0; row < rows; ++row, x += stride)
    for (std::int64_t j = 0; j < columns; ++j) {
      const auto value = static_cast<double>(simd::load(x + j));
      sums[j] += value;
      squares[j] += value * value;  // exact, so that it may be fused with the addition or not
    }
}

#define SL_KERNELS(T)                                                                                            \
  SL_DISPATCH(                                                                                                   \
      add_rows,                                                                                                  \
      (const T* x, std::int64_t rows, std::int64_t stride, std::int64_t columns, double* sums, double* squares), \
      (x, rows, stride, columns, sums, squares))
SL_KERNELS(float)
SL_KERNELS(simd::Bf16)
#undef SL_KERNELS

// x: [batch, rows, columns], fp32 or bf16, columns side by side.
void add_in_strips(const torch::Tensor& x, double* sums, double* squares) {
  const std::int64_t columns = x.size(2), strips = (columns + kStrip - 1) / kStrip;
  const std::int64_t grain = kernels::grain(x.size(0) * x.size(1) * kStrip);
  kernels::with_type(x, [&]<class T>(T*) {
    const T* data = kernels::data<T>(x);
    at::parallel_for(0, strips, grain, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t first = begin * kStrip, count = std::min(end * kStrip, columns) - first;
      for (std::int64_t i = 0; i < x.size(0); ++i)
        add_rows(data + i * x.stride(0) + first, x.size(1), x.stride(1), count, sums + first, squares + first);
    });
  });
}

}  // namespace

void add_column_sums(const torch::Tensor& x, torch::Tensor& sums, torch::Tensor& squares) {
  SL_ASSERT(x.dim() == 2 || x.dim() == 3);
  for (torch::Tensor* total : {&sums, &squares})
    if (!total->defined()) *total = torch::zeros({x.size(-1)}, torch::kDouble);
  SL_ASSERT(sums.numel() == x.size(-1) && squares.numel() == x.size(-1));
  const auto read = x.scalar_type() == torch::kBFloat16 ? x : x.to(torch::kFloat);
  if (read.device().is_cpu()) {
    const auto rows = read.dim() == 2 ? read.unsqueeze(0) : read;
    add_in_strips(rows.stride(2) == 1 ? rows : rows.contiguous(), sums.data_ptr<double>(), squares.data_ptr<double>());
    return;
  }
  const auto rows = read.to(torch::kFloat).reshape({-1, read.size(-1)});
  sums += rows.sum(0, /*keepdim=*/false, torch::kDouble).to(torch::kCPU);
  squares += rows.square().sum(0, /*keepdim=*/false, torch::kDouble).to(torch::kCPU);
}

}  // namespace streamline
