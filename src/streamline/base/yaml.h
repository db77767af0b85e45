// SPDX-License-Identifier: Apache-2.0
// YAML files read as JSON values.
#pragma once

#include <string_view>

#include "streamline/base/json.h"

namespace streamline {

// Parses one YAML (or JSON) document. Unquoted true, false, null and numbers are what they look like, all other scalars
// are strings. Errors: format, with `where` and the line; a key that occurs twice in a mapping is one.
Json parse_yaml(std::string_view text, std::string_view where);

}  // namespace streamline
