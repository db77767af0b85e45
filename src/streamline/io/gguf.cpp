// SPDX-License-Identifier: Apache-2.0
// Everything in the header comes from a file that may be hostile or cut short: each length is compared with the bytes
// that are left before it is used.
#include "streamline/io/gguf.h"

#include <algorithm>
#include <bit>

#include "streamline/io/gguf_cursor.h"

namespace streamline {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr int kMaxNesting = 4;  // arrays in arrays; none are met in practice
constexpr std::string_view kAlignmentKey = "general.alignment";
// The least that an entry and a tensor's description take, to bound their counts.
constexpr std::uint64_t kMinEntryBytes = 8 + 4 + 1, kMinTensorBytes = 8 + 4 + 4 + 8;

static_assert(std::endian::native == std::endian::little, "GGUF is read by copying its little-endian numbers");

// Bytes of a value of fixed size; 0 for strings and arrays.
std::uint64_t value_size(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean:
      return 1;
    case GgufType::u16:
    case GgufType::i16:
      return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32:
      return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64:
      return 8;
    case GgufType::string:
    case GgufType::array:
      return 0;
  }
  return 0;
}

void read_version(GgufCursor& cursor, Gguf& gguf) {
  if (cursor.left() < kMagic.size() + sizeof(std::uint32_t))
    fail(ErrorKind::format, gguf.where, ": ", cursor.left(), " bytes are too few for a GGUF file; ",
         "is the download complete?");
  const auto magic = cursor.bytes(kMagic.size(), "the magic");
  if (std::memcmp(magic.data(), kMagic.data(), kMagic.size()) != 0)
    fail(ErrorKind::format, gguf.where, ": does not begin with 'GGUF'; this is not a GGUF file");
  gguf.version = cursor.number<std::uint32_t>("the version");
  if (gguf.version == 2 || gguf.version == 3) return;
  if (gguf.version == 1)
    fail(ErrorKind::unsupported, gguf.where, ": is GGUF version 1, which was in use for a few days of 2023; ",
         "convert the model again with a current llama.cpp");
  if (gguf.version != 0 && (gguf.version & 0xffff) == 0)
    fail(ErrorKind::unsupported, gguf.where, ": is a big-endian GGUF file; only little-endian ones are read");
  fail(ErrorKind::unsupported, gguf.where, ": is GGUF version ", gguf.version, "; versions 2 and 3 are read");
}

std::uint64_t read_count(GgufCursor& cursor, const Gguf& gguf, std::uint64_t least, const char* what) {
  const auto count = cursor.number<std::uint64_t>("the header");
  if (count > cursor.left() / least)
    fail(ErrorKind::format, gguf.where, ": claims ", count, " ", what, ", more than its ", cursor.left(),
         " remaining bytes can hold; is the download complete?");
  return count;
}

// Moves past `count` values; their bytes are what lies between.
void skip_values(GgufCursor& cursor, const Gguf& gguf, std::string_view key, GgufType type, std::uint64_t count,
                 int depth) {
  if (const std::uint64_t size = value_size(type); size != 0) {
    if (count > cursor.left() / size)
      fail(ErrorKind::format, gguf.where, ": ", in_quotes(key), " has ", count, " values, more than the ",
           cursor.left(), " bytes that are left can hold; is the download complete?");
    const auto values = cursor.bytes(count * size, "a metadata value");
    if (type == GgufType::boolean)
      for (const std::byte value : values)
        if (value > std::byte{1})
          fail(ErrorKind::format, gguf.where, ": ", in_quotes(key), " is the boolean ", std::to_integer<int>(value),
               "; expected 0 or 1");
    return;
  }
  if (type == GgufType::array && depth >= kMaxNesting)
    fail(ErrorKind::format, gguf.where, ": ", in_quotes(key), " nests arrays deeper than ", kMaxNesting, " levels");
  for (std::uint64_t i = 0; i < count; ++i) {
    if (type == GgufType::string) {
      cursor.string("a string of the metadata");
      continue;
    }
    const GgufType element = cursor.type(key);
    const auto length = cursor.number<std::uint64_t>("an array's length");
    skip_values(cursor, gguf, key, element, length, depth + 1);
  }
}

GgufEntry read_entry(GgufCursor& cursor, std::span<const std::byte> file, const Gguf& gguf) {
  GgufEntry entry;
  entry.key = cursor.string("a metadata key");
  if (entry.key.empty()) fail(ErrorKind::format, gguf.where, ": a metadata key is empty");
  entry.type = entry.element = cursor.type(entry.key);
  if (entry.type == GgufType::array) {
    entry.element = cursor.type(entry.key);
    entry.count = cursor.number<std::uint64_t>("an array's length");
  }
  const std::uint64_t start = cursor.position();
  skip_values(cursor, gguf, entry.key, entry.element, entry.count, 1);
  entry.bytes = file.subspan(start, cursor.position() - start);
  return entry;
}

void read_metadata(GgufCursor& cursor, std::span<const std::byte> file, std::uint64_t count, Gguf& gguf) {
  std::vector<std::string_view> keys;
  for (std::uint64_t i = 0; i < count; ++i) {
    gguf.metadata.push_back(read_entry(cursor, file, gguf));
    keys.push_back(gguf.metadata.back().key);
  }
  check_unique(std::move(keys), gguf.where, "the metadata key");
  const GgufEntry* alignment = gguf.find(kAlignmentKey);
  if (alignment == nullptr) return;
  const auto value = alignment->type == GgufType::u32 ? *gguf.integer(kAlignmentKey) : 0;
  if (!std::has_single_bit(static_cast<std::uint64_t>(value)))
    fail(ErrorKind::format, gguf.where, ": 'general.alignment' is not a 32-bit power of two");
  gguf.alignment = static_cast<std::uint64_t>(value);
}

}  // namespace

void check_unique(std::vector<std::string_view> names, const std::string& where, const char* what) {
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) fail(ErrorKind::format, where, ": ", what, " ", in_quotes(*twice), " occurs twice");
}

Gguf parse_gguf(std::span<const std::byte> file, const std::string& name) {
  Gguf gguf;
  gguf.where = name;
  GgufCursor cursor(file, gguf.where);
  read_version(cursor, gguf);
  const std::uint64_t tensors = read_count(cursor, gguf, kMinTensorBytes, "tensors");
  read_metadata(cursor, file, read_count(cursor, gguf, kMinEntryBytes, "metadata entries"), gguf);
  gguf.tensors = read_gguf_tensors(cursor, gguf, tensors);
  gguf.data_start = aligned(cursor.position(), gguf.alignment);
  place_gguf_tensors(gguf, file.size());
  return gguf;
}

}  // namespace streamline
