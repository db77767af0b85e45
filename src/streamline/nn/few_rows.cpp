// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/few_rows.h"

#include "streamline/base/simd_vector.h"
#include "streamline/nn/kernel_walk.h"
#include "streamline/nn/kernels.h"

namespace streamline::kernels {
namespace {

using simd::Bf16;
using Index = std::int64_t;

constexpr Index kFewRows = 4;
constexpr int kMatrixRows = 4;  // that several rows meet at once, so that these are read from the cache less often
constexpr int kVectors = 4;     // partial sums of a single row: enough to hide the latency of adding

// How far ahead of a single row's product a bf16 matrix is asked for; of fp32 the processor by itself brings enough.
constexpr std::uintptr_t kAhead = 8192;
constexpr std::size_t kCacheLine = 64;

struct FewRows {
  Index rows = 0, width = 0, out = 0;
  Index stride = 0;  // from one row of the matrix to the next
  float scale = 1;
};

// Of an address that need not be one of the matrix any more.
template <class T>
SL_INLINE void ask_for(const T* data, std::uintptr_t bytes_behind) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(data) + bytes_behind));
}

template <class T>
struct Operands {
  const float* x;
  const T *weight, *bias, *base;
  T* y;
};

template <class T>
SL_INLINE void finish(const FewRows& shape, const Operands<T>& of, Index row, Index entry, float sum) {
  if (of.bias != nullptr) sum += simd::load(of.bias + entry);
  const Index at = row * shape.out + entry;
  simd::store(of.y + at, (of.base == nullptr ? 0.0f : simd::load(of.base + at)) + shape.scale * sum);
}

template <class T>
SL_INLINE void one_row(const FewRows& shape, const Operands<T>& of, Index begin, Index end) {
  for (Index entry = begin; entry < end; ++entry) {
    const T* matrix = of.weight + entry * shape.stride;
    simd::Vector<T> sums[kVectors] = {};
    Index i = 0;
    for (; i + kVectors * simd::kLanes<T> <= shape.width; i += kVectors * simd::kLanes<T>)
      for (int k = 0; k < kVectors; ++k) {
        const T* part = matrix + i + k * simd::kLanes<T>;
        if (sizeof(T) == 2 && k * simd::kLanes<T> * sizeof(T) % kCacheLine == 0) ask_for(part, kAhead);
        simd::add_product(part, of.x + i + k * simd::kLanes<T>, sums[k]);
      }
    for (; i + simd::kLanes<T> <= shape.width; i += simd::kLanes<T>) simd::add_product(matrix + i, of.x + i, sums[0]);
    for (int k = 1; k < kVectors; ++k) sums[0] += sums[k];
    finish(shape, of, 0, entry, simd::total(sums[0]) + simd::rest_of_product(matrix, of.x, i, shape.width));
  }
}

// kCount rows of the matrix from `entry` on, times kRows rows of x. Those that come next are asked for meanwhile: the
// processor itself follows too few rows.
template <int kCount, int kRows, class T>
SL_INLINE void tile(const FewRows& shape, const Operands<T>& of, Index entry, const T* next) {
  const T* matrix = of.weight + entry * shape.stride;
  simd::Vector<T> sums[kCount][kRows] = {};
  Index i = 0;
  for (; i + simd::kLanes<T> <= shape.width; i += simd::kLanes<T>) {
    simd::Vector<T> right[kRows];
    for (int row = 0; row < kRows; ++row) simd::load_vector(of.x + row * shape.width + i, right[row]);
    for (int k = 0; k < kCount; ++k) {
      simd::Vector<T> left;
      simd::load_vector(matrix + k * shape.stride + i, left);
      ask_for(next + k * shape.stride + i, 0);
      for (int row = 0; row < kRows; ++row) sums[k][row] += left * right[row];
    }
  }
  for (int k = 0; k < kCount; ++k)
    for (int row = 0; row < kRows; ++row) {
      const float rest = simd::rest_of_product(matrix + k * shape.stride, of.x + row * shape.width, i, shape.width);
      finish(shape, of, row, entry + k, simd::total(sums[k][row]) + rest);
    }
}

template <int kRows, class T>
SL_INLINE void several_rows(const FewRows& shape, const Operands<T>& of, Index begin, Index end) {
  Index entry = begin;
  for (; entry + kMatrixRows <= end; entry += kMatrixRows) {
    const Index next = entry + 2 * kMatrixRows <= end ? entry + kMatrixRows : entry;
    tile<kMatrixRows, kRows>(shape, of, entry, of.weight + next * shape.stride);
  }
  for (; entry < end; ++entry) tile<1, kRows>(shape, of, entry, of.weight + entry * shape.stride);
}

template <class T>
SL_INLINE void few_rows_range_body(const FewRows& shape, const Operands<T>& of, Index begin, Index end) {
  if (shape.rows == 1) return one_row(shape, of, begin, end);
  if (shape.rows == 2) return several_rows<2>(shape, of, begin, end);
  if (shape.rows == 3) return several_rows<3>(shape, of, begin, end);
  several_rows<4>(shape, of, begin, end);
}

#define SL_FEW_ROWS(T)                                                                               \
  SL_DISPATCH(few_rows_range, (const FewRows& shape, const Operands<T>& of, Index begin, Index end), \
              (shape, of, begin, end))
SL_FEW_ROWS(float)
SL_FEW_ROWS(Bf16)
#undef SL_FEW_ROWS

}  // namespace

bool few_rows_apply(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                    const torch::Tensor& base) {
  return x.dim() == 2 && weight.dim() == 2 && x.size(0) > 0 && x.size(0) <= kFewRows && weight.stride(1) == 1 &&
         apply_to({x, weight, bias.defined() ? bias : weight, base.defined() ? base : x});
}

torch::Tensor few_rows_product(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                               const torch::Tensor& base, double scale) {
  const FewRows shape = {.rows = x.size(0),
                         .width = x.size(1),
                         .out = weight.size(0),
                         .stride = weight.stride(0),
                         .scale = static_cast<float>(scale)};
  SL_ASSERT(weight.size(1) == shape.width && shape.rows <= kFewRows);
  const torch::Tensor input = x.to(torch::kFloat).contiguous(), offset = bias.defined() ? bias.contiguous() : bias,
                      start = base.defined() ? base.contiguous() : base;
  torch::Tensor y = torch::empty({shape.rows, shape.out}, weight.options().requires_grad(false));
  with_type(weight, [&]<class T>(T*) {
    const auto data_or_null = [](const torch::Tensor& tensor) {
      return tensor.defined() ? data<T>(tensor) : static_cast<T*>(nullptr);
    };
    const Operands<T> operands = {.x = data<float>(input),
                                  .weight = data<T>(weight),
                                  .bias = data_or_null(offset),
                                  .base = data_or_null(start),
                                  .y = data<T>(y)};
    at::parallel_for(0, shape.out, grain(shape.width),
                     [&](Index begin, Index end) { few_rows_range(shape, operands, begin, end); });
  });
  return y;
}

}  // namespace streamline::kernels
