// SPDX-License-Identifier: Apache-2.0
// Which known name a mistyped one was meant to be, for messages.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace streamline {

// "; the nearest is '--cut'" of "cutt" and {"cut", …}, with `prefix` "--": the first of those that are most like it.
// Empty where none is like it.
std::string nearest_text(std::string_view word, const std::vector<std::string>& known, std::string_view prefix = {});

}  // namespace streamline
