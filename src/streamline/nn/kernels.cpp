// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/kernels.h"

#include <algorithm>
#include <cmath>

#include "streamline/base/error.h"
#include "streamline/base/simd.h"
#include "streamline/nn/kernel_walk.h"
#include "streamline/nn/linear.h"

namespace streamline::kernels {
namespace {

using simd::Bf16;

constexpr int kLanes = 32;  // partial sums: enough for the compiler to keep two vectors in flight

// The sum over a row of term(element).
template <class T, class Term>
SL_INLINE float row_sum(const T* x, std::int64_t width, Term&& term) {
  float lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes)
    for (std::int64_t j = 0; j < kLanes; ++j) lanes[j] += term(simd::load(x + i + j));
  float rest = 0;
  for (; i < width; ++i) rest += term(simd::load(x + i));
  return rest + simd::sum(lanes);
}

template <class T>
SL_INLINE void rms_norm_rows_body(const T* x, const T* weight, T* y, std::int64_t rows, std::int64_t width,
                                  float epsilon, float offset) {
  for (std::int64_t row = 0; row < rows; ++row, x += width, y += width) {
    const float squares = row_sum(x, width, [](float value) { return value * value; });
    const float scale = 1.0f / std::sqrt(squares / static_cast<float>(width) + epsilon);
    for (std::int64_t i = 0; i < width; ++i)
      simd::store(y + i, simd::load(x + i) * scale * (offset + simd::load(weight + i)));
  }
}

// Two passes over a row that is in the cache: the sum of squares less the square of the mean would cancel.
template <class T>
SL_INLINE void layer_norm_rows_body(const T* x, const T* weight, const T* bias, T* y, std::int64_t rows,
                                    std::int64_t width, float epsilon) {
  for (std::int64_t row = 0; row < rows; ++row, x += width, y += width) {
    const float mean = row_sum(x, width, [](float value) { return value; }) / static_cast<float>(width);
    const float squares = row_sum(x, width, [mean](float value) { return (value - mean) * (value - mean); });
    const float scale = 1.0f / std::sqrt(squares / static_cast<float>(width) + epsilon);
    if (bias == nullptr)
      for (std::int64_t i = 0; i < width; ++i)
        simd::store(y + i, (simd::load(x + i) - mean) * scale * simd::load(weight + i));
    else
      for (std::int64_t i = 0; i < width; ++i)
        simd::store(y + i, (simd::load(x + i) - mean) * scale * simd::load(weight + i) + simd::load(bias + i));
  }
}

SL_INLINE float silu_times(float gate, float up) { return gate / (1.0f + simd::exp(-gate)) * up; }

template <class T>
SL_INLINE void silu_multiply_range_body(T* __restrict gate, const T* __restrict up, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) simd::store(gate + i, silu_times(simd::load(gate + i), simd::load(up + i)));
}

template <class T>
SL_INLINE void silu_product_range_body(const T* __restrict gate, const T* __restrict up, T* __restrict out,
                                       std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) simd::store(out + i, silu_times(simd::load(gate + i), simd::load(up + i)));
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

// The same from x, whose heads are `stride` apart, to y.
template <class T>
SL_INLINE void rotated_heads_body(const T* __restrict x, T* __restrict y, const float* __restrict cos,
                                  const float* __restrict sin, std::int64_t heads, std::int64_t stride,
                                  std::int64_t head_dim, std::int64_t half, float direction) {
  for (std::int64_t head = 0; head < heads; ++head, x += stride, y += head_dim) {
    for (std::int64_t j = 0; j < half; ++j) {
      const float a = simd::load(x + j), b = simd::load(x + half + j), s = sin[j] * direction;
      simd::store(y + j, a * cos[j] - b * s);
      simd::store(y + half + j, b * cos[j] + a * s);
    }
    for (std::int64_t j = 2 * half; j < head_dim; ++j) y[j] = x[j];
  }
}

#define SL_KERNELS(T)                                                                                                  \
  SL_DISPATCH(rms_norm_rows,                                                                                           \
              (const T* x, const T* weight, T* y, std::int64_t rows, std::int64_t width, float epsilon, float offset), \
              (x, weight, y, rows, width, epsilon, offset))                                                            \
  SL_DISPATCH(                                                                                                         \
      layer_norm_rows,                                                                                                 \
      (const T* x, const T* weight, const T* bias, T* y, std::int64_t rows, std::int64_t width, float epsilon),        \
      (x, weight, bias, y, rows, width, epsilon))                                                                      \
  SL_DISPATCH(silu_product_range, (const T* gate, const T* up, T* out, std::int64_t count), (gate, up, out, count))    \
  SL_DISPATCH(rotated_heads,                                                                                           \
              (const T* x, T* y, const float* cos, const float* sin, std::int64_t heads, std::int64_t stride,          \
               std::int64_t head_dim, std::int64_t half, float direction),                                             \
              (x, y, cos, sin, heads, stride, head_dim, half, direction))                                              \
  SL_DISPATCH(silu_multiply_range, (T * gate, const T* up, std::int64_t count), (gate, up, count))                     \
  SL_DISPATCH(                                                                                                         \
      rotate_heads,                                                                                                    \
      (T * x, const float* cos, const float* sin, std::int64_t heads, std::int64_t head_dim, std::int64_t half),       \
      (x, cos, sin, heads, head_dim, half))
SL_KERNELS(float)
SL_KERNELS(Bf16)
#undef SL_KERNELS

}  // namespace

bool serve(std::initializer_list<torch::Tensor> tensors) {
  const auto type = tensors.begin()->scalar_type();
  const bool types = std::all_of(tensors.begin(), tensors.end(), [&](const torch::Tensor& tensor) {
    return tensor.device().is_cpu() && tensor.scalar_type() == type;
  });
  return types && (type == torch::kFloat || type == torch::kBFloat16);
}

bool apply_to(std::initializer_list<torch::Tensor> tensors) { return serve(tensors) && !needs_gradient(tensors); }

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

torch::Tensor layer_norm(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                         double epsilon) {
  const auto rows = x.contiguous(), factors = weight.contiguous();
  const auto shifts = bias.defined() ? bias.contiguous() : torch::Tensor();
  auto result = torch::empty_like(rows);
  const std::int64_t width = x.size(-1);
  with_type(x, [&]<class T>(T*) {
    const auto* in = data<T>(rows);
    const auto* scale = data<T>(factors);
    const auto* shift = shifts.defined() ? data<T>(shifts) : nullptr;
    auto* out = data<T>(result);
    at::parallel_for(0, x.numel() / width, grain(width), [&](std::int64_t first, std::int64_t last) {
      layer_norm_rows(in + first * width, scale, shift, out + first * width, last - first, width,
                      static_cast<float>(epsilon));
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

torch::Tensor silu_product(const torch::Tensor& gate, const torch::Tensor& up) {
  SL_ASSERT(gate.sizes() == up.sizes());
  const auto gates = gate.contiguous(), ups = up.contiguous();
  auto result = torch::empty_like(gates);
  with_type(gate, [&]<class T>(T*) {
    at::parallel_for(0, gates.numel(), kGrain, [&](std::int64_t first, std::int64_t last) {
      silu_product_range(data<T>(gates) + first, data<T>(ups) + first, data<T>(result) + first, last - first);
    });
  });
  return result;
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

torch::Tensor rotated(const torch::Tensor& x, const torch::Tensor& cos, const torch::Tensor& sin, Turn turn) {
  const std::int64_t seq = x.size(1), heads = x.size(2), head_dim = x.size(3), half = cos.size(1);
  SL_ASSERT(cos.is_contiguous() && sin.is_contiguous() && cos.size(0) == seq && 2 * half <= head_dim);
  const auto source = x.stride(3) == 1 ? x : x.contiguous();
  auto result = torch::empty_like(x, torch::MemoryFormat::Contiguous);
  const auto* cosines = cos.const_data_ptr<float>();
  const auto* sines = sin.const_data_ptr<float>();
  const std::int64_t width = heads * head_dim;
  const float direction = turn == Turn::forth ? 1.0f : -1.0f;
  with_type(x, [&]<class T>(T*) {
    at::parallel_for(0, x.size(0) * seq, grain(width), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t token = first; token < last; ++token) {
        const std::int64_t position = token % seq;
        rotated_heads(data<T>(source) + token / seq * source.stride(0) + position * source.stride(1),
                      data<T>(result) + token * width, cosines + position * half, sines + position * half, heads,
                      source.stride(2), head_dim, half, direction);
      }
    });
  });
  return result;
}

}  // namespace streamline::kernels
