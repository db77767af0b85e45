// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/type_name.h"

#include "streamline/io/dtype_word.h"

namespace streamline {

std::string_view type_name(torch::ScalarType type) { return dtype_word(stored_dtype(type)); }

}  // namespace streamline
