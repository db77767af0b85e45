// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/softmax.h"

#include "streamline/nn/kernel_walk.h"
#include "streamline/nn/kernels.h"
#include "streamline/nn/log_sum_exp.h"

namespace streamline {
namespace {

using simd::Bf16;

constexpr std::int64_t kPiece = 4096;  // logits that stay in the first cache between two looks at them

template <class T>
SL_INLINE void scaled_exponentials_body(const T* x, T* y, std::int64_t count, float log_sum, float factor) {
  for (std::int64_t i = 0; i < count; ++i) simd::store(y + i, factor * simd::exp(simd::load(x + i) - log_sum));
}
SL_DISPATCH(scaled_exponentials, (const float* x, float* y, std::int64_t count, float log_sum, float factor),
            (x, y, count, log_sum, factor))
SL_DISPATCH(scaled_exponentials, (const Bf16* x, Bf16* y, std::int64_t count, float log_sum, float factor),
            (x, y, count, log_sum, factor))

template <class T>
double log_sum_of_row(const T* row, std::int64_t width) {
  LogSumExp total;
  for (std::int64_t first = 0; first < width; first += kPiece)
    add(total, std::span<const T>(row + first, static_cast<std::size_t>(std::min(kPiece, width - first))));
  return total.value();
}

torch::Tensor widened(const torch::Tensor& logits) {
  return logits.to(at::promote_types(logits.scalar_type(), torch::kFloat32));
}

}  // namespace

torch::Tensor log_sum_exp(const torch::Tensor& logits) {
  SL_ASSERT(logits.dim() == 2);
  if (!kernels::apply_to({logits})) return widened(logits).logsumexp(-1).to(torch::kDouble);
  const auto rows = logits.contiguous();
  auto result = torch::empty({logits.size(0)}, torch::kDouble);
  auto* sums = result.data_ptr<double>();
  const std::int64_t width = logits.size(1);
  kernels::with_type(rows, [&]<class T>(T*) {
    const T* values = kernels::data<T>(rows);
    at::parallel_for(0, rows.size(0), kernels::grain(width), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t row = first; row < last; ++row) sums[row] = log_sum_of_row(values + row * width, width);
    });
  });
  return result;
}

torch::Tensor scaled_softmax(const torch::Tensor& logits, const torch::Tensor& log_sums, const torch::Tensor& factors) {
  SL_ASSERT(logits.dim() == 2 && log_sums.numel() == logits.size(0) && factors.numel() == logits.size(0));
  if (!kernels::apply_to({logits})) {
    const auto wide = widened(logits);
    const auto shares = (wide - log_sums.unsqueeze(1).to(wide.scalar_type())).exp_();
    return shares.mul_(factors.unsqueeze(1).to(wide.scalar_type())).to(logits.scalar_type());
  }
  const auto rows = logits.contiguous(), sums = log_sums.contiguous(), scales = factors.contiguous();
  auto result = torch::empty_like(rows);
  const auto* sum = sums.const_data_ptr<double>();
  const auto* scale = scales.const_data_ptr<double>();
  const std::int64_t width = logits.size(1);
  kernels::with_type(rows, [&]<class T>(T*) {
    const T* values = kernels::data<T>(rows);
    T* out = kernels::data<T>(result);
    at::parallel_for(0, rows.size(0), kernels::grain(width), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t row = first; row < last; ++row)
        scaled_exponentials(values + row * width, out + row * width, width, static_cast<float>(sum[row]),
                            static_cast<float>(scale[row]));
    });
  });
  return result;
}

}  // namespace streamline
