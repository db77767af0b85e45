// SPDX-License-Identifier: Apache-2.0
// The tensors that a configuration promises: what a checkpoint is checked against, and what a layer is written as.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "streamline/arch/config.h"

namespace streamline {

struct ExpectedTensor {
  std::int64_t layer = -1;  // < 0 for whole-model roles
  Role role = Role::q;
  Part part = Part::weight;
  std::string name;                 // in a file of this family
  std::vector<std::int64_t> shape;  // projections [out, in], norms [width]
  std::int64_t expert = -1;         // >= 0: the gate, up or down of one expert
  bool transposed = false;          // stored [in, out]

  std::int64_t elements() const;
  std::vector<std::int64_t> stored_shape() const;
};

// In the order of Role, weight before bias, experts last. Layers that are not ordinary (is_ordinary() false) are
// named as extension layers: "<prefix><layer>.replacement.up.weight".
std::vector<ExpectedTensor> layer_tensors(const Config& config, const LayerConfig& layer, std::int64_t index);
// Embeddings, final norm and, unless tied, the head.
std::vector<ExpectedTensor> global_tensors(const Config& config);
// All of them, embeddings first.
std::vector<ExpectedTensor> expected_tensors(const Config& config);

}  // namespace streamline
