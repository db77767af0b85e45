// SPDX-License-Identifier: Apache-2.0
// GGUF files made in memory, also ones that are wrong on purpose.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "streamline/io/gguf.h"

namespace streamline::test {

// A number as the file stores it.
template <class T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

inline std::string gguf_string(const std::string& text) { return raw<std::uint64_t>(text.size()) + text; }

inline std::string gguf_key(const std::string& key, GgufType type) {
  return gguf_string(key) + raw(static_cast<std::uint32_t>(type));
}

// Metadata entries.
inline std::string u32(const std::string& key, std::uint32_t value) {
  return gguf_key(key, GgufType::u32) + raw(value);
}
inline std::string u16(const std::string& key, std::uint16_t value) {
  return gguf_key(key, GgufType::u16) + raw(value);
}
inline std::string f32(const std::string& key, float value) { return gguf_key(key, GgufType::f32) + raw(value); }
inline std::string flag(const std::string& key, bool value) {
  return gguf_key(key, GgufType::boolean) + std::string(1, value ? '\1' : '\0');
}
inline std::string text(const std::string& key, const std::string& value) {
  return gguf_key(key, GgufType::string) + gguf_string(value);
}
inline std::string gguf_array(const std::string& key, GgufType element, std::uint64_t count, const std::string& bytes) {
  return gguf_key(key, GgufType::array) + raw(static_cast<std::uint32_t>(element)) + raw(count) + bytes;
}
inline std::string texts(const std::string& key, const std::vector<std::string>& values) {
  std::string bytes;
  for (const std::string& value : values) bytes += gguf_string(value);
  return gguf_array(key, GgufType::string, values.size(), bytes);
}
template <class T>
std::string numbers(const std::string& key, GgufType element, const std::vector<T>& values) {
  std::string bytes;
  for (const T value : values) bytes += raw(value);
  return gguf_array(key, element, values.size(), bytes);
}

// A tensor's description: dimensions as GGUF orders them, the contiguous one first; `type` is GGUF's number.
inline std::string gguf_tensor(const std::string& name, const std::vector<std::int64_t>& dimensions, std::uint32_t type,
                               std::uint64_t offset) {
  std::string bytes = gguf_string(name) + raw(static_cast<std::uint32_t>(dimensions.size()));
  for (const std::int64_t dimension : dimensions) bytes += raw(dimension);
  return bytes + raw(type) + raw(offset);
}

inline std::string padded(std::string bytes, std::size_t alignment = 32) {
  bytes.resize((bytes.size() + alignment - 1) / alignment * alignment, '\0');
  return bytes;
}

inline std::string gguf_header(const std::vector<std::string>& metadata, const std::vector<std::string>& tensors,
                               std::uint32_t version = 3) {
  std::string file = "GGUF" + raw(version) + raw<std::uint64_t>(tensors.size()) + raw<std::uint64_t>(metadata.size());
  for (const std::string& entry : metadata) file += entry;
  for (const std::string& tensor : tensors) file += tensor;
  return file;
}

// Header, padding, data.
inline std::string gguf_file(const std::vector<std::string>& metadata, const std::vector<std::string>& tensors,
                             const std::string& data, std::size_t alignment = 32) {
  return padded(gguf_header(metadata, tensors), alignment) + data;
}

}  // namespace streamline::test
