// SPDX-License-Identifier: Apache-2.0
// Our extension of config.json for layers that no ordinary layer of the family can express: `model_type` is
// "streamline" and an object "streamline" names the base family and describes these layers (docs/formats).
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "streamline/arch/config.h"

namespace streamline {

bool has_extension(const Json& config);

// The model_type of the family that the ordinary layers belong to, with or without extension.
std::string base_model_type(const Json& config, const std::string& where);

// The described layers by index; empty without extension. Errors: format, unsupported (kind, activation, version).
std::map<std::int64_t, LayerConfig> extension_layers(const Json& config, std::int64_t layers, const std::string& where);

// Sets model_type, architectures and "streamline" for these layers of the result; with none of them, restores those of
// the base.
void write_extension(const std::map<std::int64_t, LayerConfig>& layers, const Json& provenance, Json& config);

}  // namespace streamline
