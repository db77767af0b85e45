// SPDX-License-Identifier: Apache-2.0
// Metadata of a GGUF file that is to be written: keys and encoded values, in their order.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/io/gguf.h"

namespace streamline {

// A GgufEntry that owns its bytes.
struct GgufField {
  std::string key;
  GgufType type = GgufType::u8;
  GgufType element = GgufType::u8;
  std::uint64_t count = 1;
  std::string bytes;
};

class GgufFields {
 public:
  // A key that is there already gets the new value, in its place. Integers must fit into their type (internal error).
  void u32(std::string_view key, std::int64_t value);
  void i32(std::string_view key, std::int32_t value);
  void u16(std::string_view key, std::uint16_t value);
  void f32(std::string_view key, double value);
  void boolean(std::string_view key, bool value);
  void string(std::string_view key, std::string_view value);
  // Arrays; an empty one is left out, as other writers do.
  void strings(std::string_view key, std::span<const std::string> values);
  void i32s(std::string_view key, std::span<const std::int32_t> values);
  void f32s(std::string_view key, std::span<const float> values);
  void booleans(std::string_view key, const std::vector<bool>& values);
  void add(GgufField field);
  // An entry of a file as it is.
  void copy(const GgufEntry& entry);
  // Its values at these places: an array of fixed-size values.
  void copy_some(const GgufEntry& entry, std::span<const std::int64_t> places);
  // An integer entry's value replaced, in the type that the entry has.
  void copy_with(const GgufEntry& entry, std::int64_t value);

  void remove(std::string_view key);
  const GgufField* find(std::string_view key) const;  // nullptr when absent
  const std::vector<GgufField>& all() const { return fields_; }

 private:
  std::vector<GgufField> fields_;
};

}  // namespace streamline
