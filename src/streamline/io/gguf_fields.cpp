// SPDX-License-Identifier: Apache-2.0
#include "streamline/io/gguf_fields.h"

#include <algorithm>
#include <limits>

#include "streamline/base/error.h"
#include "streamline/io/gguf_encode.h"

namespace streamline {
namespace {

using gguf::append_number, gguf::append_text;

template <class T>
GgufField scalar(std::string_view key, GgufType type, T value) {
  GgufField field{.key = std::string(key), .type = type, .element = type, .count = 1, .bytes = {}};
  append_number(field.bytes, value);
  return field;
}

template <class T>
GgufField array(std::string_view key, GgufType element, std::span<const T> values) {
  GgufField field{
      .key = std::string(key), .type = GgufType::array, .element = element, .count = values.size(), .bytes = {}};
  for (const T& value : values) append_number(field.bytes, value);
  return field;
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Whether the value fits; then it is appended.
template <class T>
bool append_if_fits(std::string& bytes, std::int64_t value) {
  if (value < 0 && !std::numeric_limits<T>::is_signed) return false;
  if (sizeof(T) < sizeof value && (value < static_cast<std::int64_t>(std::numeric_limits<T>::min()) ||
                                   value > static_cast<std::int64_t>(std::numeric_limits<T>::max())))
    return false;
  append_number(bytes, static_cast<T>(value));
  return true;
}

bool append_integer(std::string& bytes, GgufType type, std::int64_t value) {
  switch (type) {
    case GgufType::u8:
      return append_if_fits<std::uint8_t>(bytes, value);
    case GgufType::i8:
      return append_if_fits<std::int8_t>(bytes, value);
    case GgufType::u16:
      return append_if_fits<std::uint16_t>(bytes, value);
    case GgufType::i16:
      return append_if_fits<std::int16_t>(bytes, value);
    case GgufType::u32:
      return append_if_fits<std::uint32_t>(bytes, value);
    case GgufType::i32:
      return append_if_fits<std::int32_t>(bytes, value);
    case GgufType::u64:
      return append_if_fits<std::uint64_t>(bytes, value);
    case GgufType::i64:
      return append_if_fits<std::int64_t>(bytes, value);
    default:
      return false;
  }
}

}  // namespace

void GgufFields::add(GgufField field) {
  const auto same = [&](const GgufField& other) { return other.key == field.key; };
  const auto found = std::find_if(fields_.begin(), fields_.end(), same);
  if (found == fields_.end()) {
    fields_.push_back(std::move(field));
  } else {
    *found = std::move(field);
  }
}

void GgufFields::u32(std::string_view key, std::int64_t value) {
  SL_ASSERT(value >= 0 && value <= std::numeric_limits<std::uint32_t>::max());
  add(scalar(key, GgufType::u32, static_cast<std::uint32_t>(value)));
}

void GgufFields::i32(std::string_view key, std::int32_t value) { add(scalar(key, GgufType::i32, value)); }

void GgufFields::u16(std::string_view key, std::uint16_t value) { add(scalar(key, GgufType::u16, value)); }

void GgufFields::f32(std::string_view key, double value) { add(scalar(key, GgufType::f32, static_cast<float>(value))); }

void GgufFields::boolean(std::string_view key, bool value) {
  add(scalar(key, GgufType::boolean, static_cast<std::uint8_t>(value)));
}

void GgufFields::string(std::string_view key, std::string_view value) {
  GgufField field{
      .key = std::string(key), .type = GgufType::string, .element = GgufType::string, .count = 1, .bytes = {}};
  append_text(field.bytes, value);
  add(std::move(field));
}

void GgufFields::strings(std::string_view key, std::span<const std::string> values) {
  if (values.empty()) return;
  GgufField field{.key = std::string(key),
                  .type = GgufType::array,
                  .element = GgufType::string,
                  .count = values.size(),
                  .bytes = {}};
  for (const std::string& value : values) append_text(field.bytes, value);
  add(std::move(field));
}

void GgufFields::i32s(std::string_view key, std::span<const std::int32_t> values) {
  if (!values.empty()) add(array(key, GgufType::i32, values));
}

void GgufFields::f32s(std::string_view key, std::span<const float> values) {
  if (!values.empty()) add(array(key, GgufType::f32, values));
}

void GgufFields::booleans(std::string_view key, const std::vector<bool>& values) {
  const std::vector<std::uint8_t> bytes(values.begin(), values.end());
  if (!bytes.empty()) add(array(key, GgufType::boolean, std::span<const std::uint8_t>(bytes)));
}

void GgufFields::copy(const GgufEntry& entry) {
  add({.key = std::string(entry.key),
       .type = entry.type,
       .element = entry.element,
       .count = entry.count,
       .bytes = text_of(entry.bytes)});
}

void GgufFields::copy_some(const GgufEntry& entry, std::span<const std::int64_t> places) {
  SL_ASSERT(entry.type == GgufType::array && entry.count > 0 && entry.bytes.size() % entry.count == 0);
  const std::size_t size = entry.bytes.size() / entry.count;
  GgufField field{
      .key = std::string(entry.key), .type = entry.type, .element = entry.element, .count = places.size(), .bytes = {}};
  for (const std::int64_t place : places) {
    SL_ASSERT(place >= 0 && static_cast<std::uint64_t>(place) < entry.count);
    field.bytes += text_of(entry.bytes.subspan(static_cast<std::size_t>(place) * size, size));
  }
  add(std::move(field));
}

void GgufFields::copy_with(const GgufEntry& entry, std::int64_t value) {
  GgufField field{.key = std::string(entry.key), .type = entry.type, .element = entry.type, .count = 1, .bytes = {}};
  SL_ASSERT(append_integer(field.bytes, entry.type, value));
  add(std::move(field));
}

void GgufFields::remove(std::string_view key) {
  std::erase_if(fields_, [&](const GgufField& field) { return field.key == key; });
}

const GgufField* GgufFields::find(std::string_view key) const {
  const auto found = std::find_if(fields_.begin(), fields_.end(), [&](const GgufField& f) { return f.key == key; });
  return found == fields_.end() ? nullptr : &*found;
}

}  // namespace streamline
