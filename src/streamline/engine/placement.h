// SPDX-License-Identifier: Apache-2.0
// Where, in which type and with whom to compute; said once.
#pragma once

#include <string>

#include "streamline/engine/ranks.h"
#include "streamline/nn/torch.h"

namespace streamline {

struct Placement {
  torch::Device device = torch::kCPU;
  torch::ScalarType dtype = torch::kFloat32;
  Ranks ranks = {};          // that share the work; models carry it along
  std::uint64_t memory = 0;  // bytes the process may hold beside mapped files; 0: what the machine has
};

// device: "auto", "cpu", "cuda", "cuda:1"; dtype: "auto", "float32", "bfloat16", "float16" (short forms too).
// auto: CUDA when there is one; bf16 on CUDA and on CPUs with AVX-512-BF16 or AMX, else fp32. Errors: usage.
Placement resolve_placement(const std::string& device, const std::string& dtype);
// threads <= 0: one a physical core that this process may use (usable_cores()), of which `processes` have an equal
// share each.
void set_threads(int threads, int processes = 1);
std::string describe(const Placement& placement);  // "cpu, bfloat16, 2 threads"

}  // namespace streamline
