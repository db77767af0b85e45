// SPDX-License-Identifier: Apache-2.0
// Tensor names of the sparse MLPs of Qwen 2 and 3; their dense layers have Llama's.
#pragma once

#include <vector>

#include "streamline/arch/family.h"

namespace streamline {

inline ExpertsRule qwen_experts() {
  return {.prefix = "mlp.experts.",
          .names = {{Role::gate, "gate_proj"}, {Role::up, "up_proj"}, {Role::down, "down_proj"}},
          .count_key = "num_experts",
          .renormalised = {.key = "norm_topk_prob"},
          .dense_layers = true};
}

}  // namespace streamline
