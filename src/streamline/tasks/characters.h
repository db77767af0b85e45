// SPDX-License-Identifier: Apache-2.0
// Texts counted, cut and spelled by characters, which are code points.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace streamline {

// All of valid UTF-8.
std::int64_t character_count(std::string_view text);
// Characters begin … end - 1; the bounds are within the text.
std::string_view characters_of(std::string_view text, std::int64_t begin, std::int64_t end);

std::string_view strip(std::string_view text);  // of white space at both ends
std::string lower(std::string_view text);
std::string upper(std::string_view text);
// The first character in upper or lower case, the rest as it is.
std::string upper_first(std::string_view text);
std::string lower_first(std::string_view text);

}  // namespace streamline
