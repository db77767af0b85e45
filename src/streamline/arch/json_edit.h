// SPDX-License-Identifier: Apache-2.0
// Editing ordered JSON objects without disturbing the order of their keys.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "streamline/base/json.h"

namespace streamline {

// How messages name the file that is edited.
inline const std::string kConfigFile = "config.json";

// Replaces the value of `key` in place; a new key goes right after the last of `neighbours` that is there, else to the
// end.
void set_beside(Json& object, std::string_view key, Json value, std::initializer_list<std::string_view> neighbours);

}  // namespace streamline
