// SPDX-License-Identifier: Apache-2.0
// The one place that includes libtorch, and what differs between its releases. Precompiled.
#pragma once

// Tensors and threads only: torch/autograd.h would cost 1 s a file, torch/torch.h with torch::nn 8 s.
#include <torch/cuda.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "streamline/io/dtype.h"

namespace streamline {

torch::ScalarType scalar_type(DType dtype);
DType stored_dtype(torch::ScalarType type);

// libtorch's exceptions as ours: resource when memory ran out, else internal, in one line.
[[noreturn]] void rethrow_torch_error(const c10::Error& error);

// Runs `work` at the edge of the engine: what comes out of it is Error and nothing else of libtorch's.
template <class Work>
auto translating_errors(Work&& work) -> decltype(work()) {
  try {
    return work();
  } catch (const c10::Error& error) {
    rethrow_torch_error(error);
  }
}

}  // namespace streamline
