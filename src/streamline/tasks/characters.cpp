// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/characters.h"

#include <utf8proc.h>

#include <algorithm>

#include "streamline/text/unicode.h"

namespace streamline {
namespace {

bool starts_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }

std::size_t offset_of(std::string_view text, std::int64_t character) {
  std::size_t at = 0;
  for (; at < text.size(); ++at)
    if (starts_character(text[at]) && character-- == 0) break;
  return at;
}

template <class Change>
std::string changed(std::string_view text, Change change) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint code = code_point_at(text, at);
    append_utf8(result, static_cast<char32_t>(change(static_cast<utf8proc_int32_t>(code.value))));
    at += static_cast<std::size_t>(code.size);
  }
  return result;
}

template <class Change>
std::string changed_first(std::string_view text, Change change) {
  if (text.empty()) return {};
  const auto size = static_cast<std::size_t>(code_point_at(text, 0).size);
  return changed(text.substr(0, size), change) + std::string(text.substr(size));
}

}  // namespace

std::int64_t character_count(std::string_view text) {
  return std::count_if(text.begin(), text.end(), starts_character);
}

std::string_view characters_of(std::string_view text, std::int64_t begin, std::int64_t end) {
  const std::size_t from = offset_of(text, begin);
  return text.substr(from, offset_of(text.substr(from), end - begin));
}

std::string_view strip(std::string_view text) {
  while (!text.empty()) {
    const CodePoint first = code_point_at(text, 0);
    if (!is_white_space(first.value)) break;
    text.remove_prefix(static_cast<std::size_t>(first.size));
  }
  while (!text.empty()) {
    const CodePoint last = last_code_point(text);
    if (!is_white_space(last.value)) break;
    text.remove_suffix(static_cast<std::size_t>(last.size));
  }
  return text;
}

std::string lower(std::string_view text) { return changed(text, utf8proc_tolower); }
std::string upper(std::string_view text) { return changed(text, utf8proc_toupper); }
std::string upper_first(std::string_view text) { return changed_first(text, utf8proc_toupper); }
std::string lower_first(std::string_view text) { return changed_first(text, utf8proc_tolower); }

}  // namespace streamline
