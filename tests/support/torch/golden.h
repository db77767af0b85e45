// SPDX-License-Identifier: Apache-2.0
// The golden checkpoints of the reference folder: what a correct engine computes from them, made by another program.
#pragma once

#include <string>

#include "streamline/engine/model.h"

namespace streamline::test {

struct Golden {
  std::shared_ptr<const Checkpoint> checkpoint;
  torch::Tensor ids;     // [2, 40] int64
  torch::Tensor logits;  // [2, 40, 512]
  torch::Tensor hidden;  // [layers + 1, 2, 40, 64]; the last before the final norm
};

// With `transformers5`, config.json is the spelling of transformers 5.
Golden load_golden(const std::string& family, bool transformers5 = false);

}  // namespace streamline::test
