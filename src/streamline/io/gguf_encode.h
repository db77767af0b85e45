// SPDX-License-Identifier: Apache-2.0
// Values as GGUF files have them: little-endian numbers, and text behind its length.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace streamline::gguf {

template <class T>
void append_number(std::string& bytes, T value) {
  char encoded[sizeof value];
  std::memcpy(encoded, &value, sizeof value);
  bytes.append(encoded, sizeof encoded);
}

inline void append_text(std::string& bytes, std::string_view text) {
  append_number(bytes, static_cast<std::uint64_t>(text.size()));
  bytes.append(text);
}

}  // namespace streamline::gguf
