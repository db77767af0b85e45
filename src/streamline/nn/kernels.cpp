// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/kernels.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "streamline/base/error.h"
#include "streamline/base/simd.h"
#include "streamline/nn/linear.h"

namespace streamline::kernels {
namespace {

using simd::Bf16;

constexpr std::int64_t kGrain = 32768;  // elements a thread should have at least

template <class T>
SL_INLINE void rms_norm_rows_body(const T* x, const T* weight, T* y, std::int64_t rows, std::int64_t width,
                                  float epsilon, float offset) {
  constexpr int kLanes = 32;  // partial sums: enough for the compiler to keep two vectors in flight
  for (std::int64_t row = 0; row < rows; ++row, x += width, y += width) {
    float lanes[kLanes] = {};
    std::int64_t i = 0;
    for (; i + kLanes <= width; i += kLanes)
      for (std::int64_t j = 0; j < kLanes; ++j) {
        const float value = simd::load(x + i + j);
        lanes[j] += value * value;
      }
    float squares = 0;
    for (; i < width; ++i) squares += simd::load(x + i) * simd::load(x + i);
    squares += simd::sum(lanes);
    const float scale = 1.0f / std::sqrt(squares / static_cast<float>(width) + epsilon);
    for (i = 0; i < width; ++i) simd::store(y + i, simd::load(x + i) * scale * (offset + simd::load(weight + i)));
  }
}

template <class T>
SL_INLINE void silu_multiply_range_body(T* __restrict gate, const T* __restrict up, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float g = simd::load(gate + i);
    simd::store(gate + i, g / (1.0f + simd::exp(-g)) * simd::load(up + i));
  }
}

// One token's heads.
template <class T>
SL_INLINE void rotate_heads_body(T* __restrict x, const float* __restrict cos, const float* __restrict sin,
                                 std::int64_t heads, std::int64_t head_dim, std::int64_t half) {
  for (std::int64_t head = 0; head < heads; ++head, x += head_dim)
    for (std::int64_t j = 0; j < half; ++j) {
      const float a = simd::load(x + j), b = simd::load(x + half + j);
      simd::store(x + j, a * cos[j] - b * sin[j]);
      simd::store(x + half + j, b * cos[j] + a * sin[j]);
    }
}

#define SL_KERNELS(T)                                                                                                  \
  SL_DISPATCH(rms_norm_rows,                                                                                           \
              (const T* x, const T* weight, T* y, std::int64_t rows, std::int64_t width, float epsilon, float offset), \
              (x, weight, y, rows, width, epsilon, offset))                                                            \
  SL_DISPATCH(silu_multiply_range, (T * gate, const T* up, std::int64_t count), (gate, up, count))                     \
  SL_DISPATCH(                                                                                                         \
      rotate_heads,                                                                                                    \
      (T * x, const float* cos, const float* sin, std::int64_t heads, std::int64_t head_dim, std::int64_t half),       \
      (x, cos, sin, heads, head_dim, half))
SL_KERNELS(float)
SL_KERNELS(Bf16)
#undef SL_KERNELS

// Calls work(T*) with the type of the tensor's elements.
template <class Work>
void with_type(const torch::Tensor& tensor, Work&& work) {
  if (tensor.scalar_type() == torch::kFloat) return work(static_cast<float*>(nullptr));
  SL_ASSERT(tensor.scalar_type() == torch::kBFloat16);
  work(static_cast<Bf16*>(nullptr));
}

template <class T>
T* data(const torch::Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

std::int64_t grain(std::int64_t width) { return std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, width)); }

}  // namespace

bool apply_to(std::initializer_list<torch::Tensor> tensors) {
  const auto type = tensors.begin()->scalar_type();
  const bool types = std::all_of(tensors.begin(), tensors.end(), [&](const torch::Tensor& tensor) {
    return tensor.device().is_cpu() && tensor.scalar_type() == type;
  });
  return types && (type == torch::kFloat || type == torch::kBFloat16) && !needs_gradient(tensors);
}

torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& weight, double epsilon, double offset) {
  const auto rows = x.contiguous();
  auto result = torch::empty_like(rows);
  const std::int64_t width = x.size(-1);
  with_type(x, [&]<class T>(T*) {
    const auto* in = data<T>(rows);
    const auto* scale = data<T>(weight);
    auto* out = data<T>(result);
    at::parallel_for(0, x.numel() / width, grain(width), [&](std::int64_t first, std::int64_t last) {
      rms_norm_rows(in + first * width, scale, out + first * width, last - first, width, static_cast<float>(epsilon),
                    static_cast<float>(offset));
    });
  });
  return result;
}

void silu_multiply(torch::Tensor& gate, const torch::Tensor& up) {
  SL_ASSERT(gate.is_contiguous() && up.is_contiguous() && gate.sizes() == up.sizes());
  with_type(gate, [&]<class T>(T*) {
    at::parallel_for(0, gate.numel(), kGrain, [&](std::int64_t first, std::int64_t last) {
      silu_multiply_range(data<T>(gate) + first, data<T>(up) + first, last - first);
    });
  });
}

void rotate(torch::Tensor& x, const torch::Tensor& cos, const torch::Tensor& sin) {
  const std::int64_t seq = x.size(1), heads = x.size(2), head_dim = x.size(3), half = cos.size(1);
  SL_ASSERT(x.is_contiguous() && cos.is_contiguous() && sin.is_contiguous());
  SL_ASSERT(cos.size(0) == seq && 2 * half <= head_dim);
  const auto* cosines = cos.const_data_ptr<float>();
  const auto* sines = sin.const_data_ptr<float>();
  const std::int64_t width = heads * head_dim;
  with_type(x, [&]<class T>(T*) {
    at::parallel_for(0, x.size(0) * seq, grain(width), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t token = first; token < last; ++token) {
        const std::int64_t position = token % seq;
        rotate_heads(data<T>(x) + token * width, cosines + position * half, sines + position * half, heads, head_dim,
                     half);
      }
    });
  });
}

}  // namespace streamline::kernels
