// SPDX-License-Identifier: Apache-2.0
// A layer's shape as JSON: what replacement.safetensors says about the network whose weights it holds.
#pragma once

#include <string>

#include "streamline/arch/config.h"

namespace streamline {

Json to_json(const LayerConfig& layer);
// Errors: format, naming `where` and the key; unknown keys and sizes outside 1 … kMaxDimension are errors.
LayerConfig layer_from_json(const Json& json, const std::string& where);

}  // namespace streamline
