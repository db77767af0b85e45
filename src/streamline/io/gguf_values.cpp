// SPDX-License-Identifier: Apache-2.0
// Metadata values by key. parse_gguf() has checked that each lies inside the file.
#include <cstring>

#include "streamline/base/error.h"
#include "streamline/io/gguf.h"
#include "streamline/io/load_value.h"

namespace streamline {
namespace {

// Calls `use` with each value of a numeric entry, in its own type; false if the entry is not one.
template <class Use>
bool each_number(const GgufEntry& entry, const Use& use) {
  const auto all = [&]<class T>(T) {
    for (std::uint64_t i = 0; i < entry.count; ++i) use(load_value<T>(entry.bytes.data() + i * sizeof(T)));
    return true;
  };
  switch (entry.element) {
    case GgufType::u8:
    case GgufType::boolean:
      return all(std::uint8_t{});
    case GgufType::i8:
      return all(std::int8_t{});
    case GgufType::u16:
      return all(std::uint16_t{});
    case GgufType::i16:
      return all(std::int16_t{});
    case GgufType::u32:
      return all(std::uint32_t{});
    case GgufType::i32:
      return all(std::int32_t{});
    case GgufType::f32:
      return all(float{});
    case GgufType::u64:
      return all(std::uint64_t{});
    case GgufType::i64:
      return all(std::int64_t{});
    case GgufType::f64:
      return all(double{});
    case GgufType::string:
    case GgufType::array:
      return false;
  }
  return false;
}

bool is_integral(GgufType type) {
  return type != GgufType::f32 && type != GgufType::f64 && type != GgufType::string && type != GgufType::array;
}

[[noreturn]] void fail_kind(const Gguf& gguf, std::string_view key, const char* expected) {
  fail(ErrorKind::format, gguf.where, ": '", key, "' is not ", expected);
}

std::vector<std::int64_t> integer_values(const Gguf& gguf, const GgufEntry& entry) {
  std::vector<std::int64_t> values;
  values.reserve(entry.count);
  each_number(entry, [&](auto value) {
    if constexpr (std::is_same_v<decltype(value), std::uint64_t>)
      if (value > static_cast<std::uint64_t>(INT64_MAX)) fail_kind(gguf, entry.key, "an integer below 2^63");
    values.push_back(static_cast<std::int64_t>(value));
  });
  return values;
}

}  // namespace

const GgufEntry* Gguf::find(std::string_view key) const {
  for (const GgufEntry& entry : metadata)
    if (entry.key == key) return &entry;
  return nullptr;
}

std::optional<std::int64_t> Gguf::integer(std::string_view key) const {
  const GgufEntry* entry = find(key);
  if (entry == nullptr) return std::nullopt;
  if (!is_integral(entry->type) || entry->type == GgufType::boolean) fail_kind(*this, key, "an integer");
  return integer_values(*this, *entry).front();
}

std::optional<double> Gguf::number(std::string_view key) const {
  const GgufEntry* entry = find(key);
  if (entry == nullptr) return std::nullopt;
  if (entry->type == GgufType::array || entry->type == GgufType::string || entry->type == GgufType::boolean)
    fail_kind(*this, key, "a number");
  double number = 0;
  each_number(*entry, [&](auto value) { number = static_cast<double>(value); });
  return number;
}

std::optional<bool> Gguf::boolean(std::string_view key) const {
  const GgufEntry* entry = find(key);
  if (entry == nullptr) return std::nullopt;
  if (entry->type != GgufType::boolean) fail_kind(*this, key, "a boolean");
  return entry->bytes.front() != std::byte{0};
}

std::optional<std::string_view> Gguf::string(std::string_view key) const {
  const GgufEntry* entry = find(key);
  if (entry == nullptr) return std::nullopt;
  if (entry->type != GgufType::string) fail_kind(*this, key, "a string");
  return strings(key)->front();
}

std::optional<std::vector<std::int64_t>> Gguf::integers(std::string_view key) const {
  const GgufEntry* entry = find(key);
  if (entry == nullptr) return std::nullopt;
  if (!is_integral(entry->element)) fail_kind(*this, key, "an integer or an array of them");
  return integer_values(*this, *entry);
}

std::optional<std::vector<double>> Gguf::numbers(std::string_view key) const {
  const GgufEntry* entry = find(key);
  if (entry == nullptr) return std::nullopt;
  std::vector<double> values;
  if (!each_number(*entry, [&](auto value) { values.push_back(static_cast<double>(value)); }))
    fail_kind(*this, key, "a number or an array of them");
  return values;
}

std::optional<std::vector<std::string_view>> Gguf::strings(std::string_view key) const {
  const GgufEntry* entry = find(key);
  if (entry == nullptr) return std::nullopt;
  if (entry->element != GgufType::string) fail_kind(*this, key, "a string or an array of them");
  std::vector<std::string_view> values;
  values.reserve(entry->count);
  const std::byte* at = entry->bytes.data();
  for (std::uint64_t i = 0; i < entry->count; ++i) {
    const auto length = load_value<std::uint64_t>(at);
    values.emplace_back(reinterpret_cast<const char*>(at) + sizeof length, length);
    at += sizeof length + length;
  }
  return values;
}

}  // namespace streamline
