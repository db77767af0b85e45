// SPDX-License-Identifier: Apache-2.0
// How a checkpoint's weights are quantised: as config.json says, else as the names of its tensors show.
#pragma once

#include <string>

#include "streamline/io/checkpoint.h"

namespace streamline {

// "gptq", "awq", "fp8", "compressed-tensors", "bitsandbytes" …; empty for weights that are not quantised. Errors:
// format for a description that is no object.
std::string quantization_method(const Checkpoint& checkpoint);

// Errors: unsupported, saying what works instead, for weights that cannot be computed with.
void check_computable(const Checkpoint& checkpoint);

}  // namespace streamline
