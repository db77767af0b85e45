// SPDX-License-Identifier: Apache-2.0
// What `streamline chip train` found, as one page that works offline: accuracy by layer with its intervals.
#pragma once

#include <string>

#include "streamline/base/json.h"

namespace streamline {

// `record`: the command's JSON. Parts that are missing are left out; everything that comes from it is escaped.
std::string chips_html(const Json& record);

}  // namespace streamline
