// SPDX-License-Identifier: Apache-2.0
// How a checkpoint's weights are quantised: as config.json says, else as the names of its tensors show.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "streamline/io/checkpoint.h"

namespace streamline {

// Keys of config.json under which a quantisation is described.
inline constexpr std::array<std::string_view, 4> kQuantizationKeys = {"quantization_config", "compression_config",
                                                                      "quantization", "quant_config"};

// "gptq", "awq", "fp8", "compressed-tensors", "bitsandbytes" …; empty for weights that are not quantised. Errors:
// format for a description that is no object.
std::string quantization_method(const Checkpoint& checkpoint);

// Errors: unsupported, saying what works instead, for weights that cannot be computed with.
void check_computable(const Checkpoint& checkpoint);

}  // namespace streamline
