// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/json.h"

#include <set>

#include "streamline/base/error.h"

template class nlohmann::basic_json<nlohmann::ordered_map>;
template class nlohmann::detail::serializer<nlohmann::ordered_json>;

namespace streamline {
namespace {

// Far beyond any file of ours; printing a value recurses once a level.
constexpr int kDeepest = 256;

// The value of a key, or nullptr when it is absent or null.
const Json* present(const Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(std::string(key));
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

[[noreturn]] void fail_type(const Json& value, std::string_view key, std::string_view where, const char* expected) {
  fail(ErrorKind::format, where, ": '", key, "' is ", value.dump().substr(0, 60), "; expected ", expected);
}

}  // namespace

Json parse_json(std::string_view text, std::string_view where) {
  std::vector<std::set<std::string>> keys;
  std::string duplicate;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kDeepest) fail(ErrorKind::format, where, ": nested deeper than ", kDeepest, " levels");
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second && duplicate.empty())
      duplicate = parsed.get<std::string>();
    return true;
  };
  try {
    Json value = Json::parse(text, watch);
    if (!duplicate.empty()) fail(ErrorKind::format, where, ": the key '", duplicate, "' occurs twice");
    return value;
  } catch (const Json::exception& error) {
    // what() begins with the library's own tag: "[json.exception.parse_error.101] parse error at line …".
    const std::string_view what = error.what();
    fail(ErrorKind::format, where, ": not valid JSON: ", what.substr(std::min(what.size(), what.find("] ") + 2)));
  }
}

std::optional<std::int64_t> json_integer(const Json& object, std::string_view key, std::string_view where) {
  const Json* value = present(object, key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX))
    fail_type(*value, key, where, "an integer below 2^63");
  if (value->is_number_integer()) return value->get<std::int64_t>();
  fail_type(*value, key, where, "an integer");
}

std::optional<double> json_number(const Json& object, std::string_view key, std::string_view where) {
  const Json* value = present(object, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) fail_type(*value, key, where, "a number");
  return value->get<double>();
}

std::optional<bool> json_bool(const Json& object, std::string_view key, std::string_view where) {
  const Json* value = present(object, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) fail_type(*value, key, where, "true or false");
  return value->get<bool>();
}

std::optional<std::string> json_string(const Json& object, std::string_view key, std::string_view where) {
  const Json* value = present(object, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail_type(*value, key, where, "a string");
  return value->get<std::string>();
}

std::string dump_json(const Json& value) { return value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

}  // namespace streamline
