// SPDX-License-Identifier: Apache-2.0
// Plans that drop halves of layers.
#pragma once

#include "streamline/plan/plan.h"

namespace streamline {

// Without the attention of some layers and the MLP of some; layers that lose both are dropped. Errors: mismatch for
// layers outside the model or named twice, and where nothing is left.
Plan drop_halves(std::int64_t layers, const std::vector<std::int64_t>& attention, const std::vector<std::int64_t>& mlp);

}  // namespace streamline
