// SPDX-License-Identifier: Apache-2.0
// What a token of context takes in the caches of keys and values.
#pragma once

#include "streamline/arch/config.h"

namespace streamline {

// Numbers, of the keys and the values of all layers.
std::int64_t cache_values_per_token(const Config& config);

}  // namespace streamline
