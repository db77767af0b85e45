// SPDX-License-Identifier: Apache-2.0
// Types that are computed in, as people read them.
#pragma once

#include <string_view>

#include "streamline/nn/torch.h"

namespace streamline {

// As --dtype and config.json spell it: "bfloat16". Errors: as stored_dtype.
std::string_view type_name(torch::ScalarType type);

}  // namespace streamline
