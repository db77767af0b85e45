// SPDX-License-Identifier: Apache-2.0
// Element types as people read them.
#pragma once

#include <string_view>

#include "streamline/io/dtype.h"

namespace streamline {

// As config.json spells floating types: "bfloat16"; of other types dtype_name(): "Q4_K".
std::string_view dtype_word(DType dtype);

}  // namespace streamline
