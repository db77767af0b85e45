// SPDX-License-Identifier: Apache-2.0
// UTF-8 and the character properties that tokenizers speak of (Unicode's, as utf8proc knows them).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace streamline {

struct CodePoint {
  char32_t value = 0;
  int size = 0;  // bytes in UTF-8
};

// The code point that starts at `position` of valid UTF-8.
inline CodePoint code_point_at(std::string_view text, std::size_t position) {
  const auto byte = [&](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[position + i]));
  };
  const char32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  if (first < 0xE0) return {(first & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (first < 0xF0) return {(first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}

// The last code point of non-empty valid UTF-8.
CodePoint last_code_point(std::string_view text);

void append_utf8(std::string& text, char32_t code_point);

// Offset of the first byte that is not valid UTF-8 (surrogates and overlong forms included), if any.
std::optional<std::size_t> find_invalid_utf8(std::string_view text);
// Errors: format, "WHERE: not valid UTF-8 at byte N".
void check_utf8(std::string_view text, std::string_view where);
// Each maximal part that is not valid becomes U+FFFD.
std::string replace_invalid_utf8(std::string_view bytes);

bool is_white_space(char32_t code_point);  // the property White_Space
bool is_numeric(char32_t code_point);      // categories Nd, Nl, No
bool is_punctuation(char32_t code_point);  // categories P*, and all ASCII punctuation
bool is_mark(char32_t code_point);         // categories M*
bool is_word(char32_t code_point);         // what \w matches

// GPT-2's byte alphabet: each byte has a printable character, so that any bytes can be written as text.
char32_t byte_level_character(unsigned char byte);
std::optional<unsigned char> byte_level_byte(char32_t code_point);
// The bytes that a token written in that alphabet stands for; nothing if a character is not of it.
std::optional<std::string> byte_level_bytes(std::string_view token);

}  // namespace streamline
