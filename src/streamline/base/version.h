// SPDX-License-Identifier: Apache-2.0
// The program's own version: recorded in what it writes.
#pragma once

#include <string_view>

namespace streamline {

std::string_view program_version();  // "0.1.0"

}  // namespace streamline
