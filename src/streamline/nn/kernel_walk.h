// SPDX-License-Identifier: Apache-2.0
// How the fused kernels walk a tensor: by the type of its elements, in shares that are worth a thread.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/base/simd.h"
#include "streamline/nn/torch.h"

namespace streamline::kernels {

inline constexpr std::int64_t kGrain = 32768;  // elements a thread should have at least

// Rows of `width` that a thread should have at least.
inline std::int64_t grain(std::int64_t width) {
  return std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, width));
}

// Calls work(T*) with the type of the tensor's elements, fp32 or bf16.
template <class Work>
void with_type(const torch::Tensor& tensor, Work&& work) {
  if (tensor.scalar_type() == torch::kFloat) return work(static_cast<float*>(nullptr));
  SL_ASSERT(tensor.scalar_type() == torch::kBFloat16);
  work(static_cast<simd::Bf16*>(nullptr));
}

template <class T>
T* data(const torch::Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

}  // namespace streamline::kernels
