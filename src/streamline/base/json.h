// SPDX-License-Identifier: Apache-2.0
// JSON with the key order of its source, and checked access that says where a value is wrong.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace streamline {

using Json = nlohmann::ordered_json;

}  // namespace streamline

// Instantiated once, in json.cpp.
extern template class nlohmann::basic_json<nlohmann::ordered_map>;
extern template class nlohmann::detail::serializer<nlohmann::ordered_json>;

namespace streamline {

// Parses UTF-8 JSON. Errors: format, with `where` and the position. Duplicate keys in one object are an error.
Json parse_json(std::string_view text, std::string_view where);

// Absent and null are the same: nullopt. A value of another type is a format error naming `where` and the key.
std::optional<std::int64_t> json_integer(const Json& object, std::string_view key, std::string_view where);
std::optional<double> json_number(const Json& object, std::string_view key, std::string_view where);
std::optional<bool> json_bool(const Json& object, std::string_view key, std::string_view where);
std::optional<std::string> json_string(const Json& object, std::string_view key, std::string_view where);

// Indented by two, non-ASCII kept, invalid UTF-8 replaced; ends with a newline.
std::string dump_json(const Json& value);

}  // namespace streamline
