// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/yaml.h"

#include <yaml-cpp/yaml.h>

#include <charconv>

#include "streamline/base/error.h"

namespace streamline {
namespace {

// Aliases let a small file stand for a huge value; no file of ours comes near these.
constexpr std::int64_t kMostNodes = 1'000'000;
constexpr int kDeepestNode = 256;

struct Converter {
  std::string_view where;
  std::int64_t nodes = 0;

  [[noreturn]] void wrong(const YAML::Node& node, std::string_view what) const {
    fail(ErrorKind::format, where, ":", node.Mark().line + 1, ": ", what);
  }

  Json convert(const YAML::Node& node, int depth) {
    if (++nodes > kMostNodes || depth > kDeepestNode) wrong(node, "too many or too deeply nested values");
    if (node.IsSequence()) return sequence(node, depth);
    if (node.IsMap()) return mapping(node, depth);
    return node.IsScalar() ? scalar(node) : Json();
  }

  Json sequence(const YAML::Node& node, int depth) {
    Json list = Json::array();
    for (const YAML::Node& element : node) list.push_back(convert(element, depth + 1));
    return list;
  }

  Json mapping(const YAML::Node& node, int depth) {
    Json object = Json::object();
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) wrong(node, "a key is not a word");
      const std::string& key = entry.first.Scalar();
      if (object.contains(key)) wrong(entry.first, "the key '" + key + "' occurs twice");
      object[key] = convert(entry.second, depth + 1);
    }
    return object;
  }

  // The tag "?" marks what was written without quotes.
  static Json scalar(const YAML::Node& node) {
    const std::string& text = node.Scalar();
    if (node.Tag() != "?") return text;
    if (text == "true" || text == "false") return text == "true";
    if (text == "null" || text == "~" || text.empty()) return nullptr;
    const char* const end = text.data() + text.size();
    std::int64_t integer = 0;
    if (const auto result = std::from_chars(text.data(), end, integer); result.ec == std::errc() && result.ptr == end)
      return integer;
    double number = 0;
    const bool digits = text.find_first_of("0123456789") != text.npos;
    if (const auto result = std::from_chars(text.data(), end, number);
        digits && result.ec == std::errc() && result.ptr == end)
      return number;
    return text;
  }
};

}  // namespace

Json parse_yaml(std::string_view text, std::string_view where) {
  try {
    return Converter{where}.convert(YAML::Load(std::string(text)), 0);
  } catch (const YAML::Exception& error) {
    fail(ErrorKind::format, where, ":", error.mark.line + 1, ": ", error.msg);
  }
}

}  // namespace streamline
