// SPDX-License-Identifier: Apache-2.0
// The GGUF container, versions 2 and 3: magic, counts, metadata, the tensors' descriptions, padding, the tensors'
// bytes. A model may be split over several files, of which the first has the metadata.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/io/checkpoint.h"

namespace streamline {

enum class GgufType : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

// A metadata entry as a view of the file: `count` values of `type` (of `element` in an array), encoded in `bytes`.
struct GgufEntry {
  std::string_view key;
  GgufType type = GgufType::u8;
  GgufType element = GgufType::u8;
  std::uint64_t count = 1;
  std::span<const std::byte> bytes;
};

// A file's header. Its strings are views of the bytes it was read from.
struct Gguf {
  std::string where;  // for messages: the file's path
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;
  std::uint64_t data_start = 0;     // from the start of the file
  std::vector<GgufEntry> metadata;  // in the file's order
  std::vector<TensorInfo> tensors;  // in the file's order; shapes with the longest stride first, as elsewhere here

  const GgufEntry* find(std::string_view key) const;  // nullptr when absent
  // A value by its key; nullopt when absent. Errors: format, naming file and key, for a value of another kind, and for
  // an integer beyond 2^63.
  std::optional<std::int64_t> integer(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;  // integers too
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string_view> string(std::string_view key) const;
  // An array, or one value as an array of one.
  std::optional<std::vector<std::int64_t>> integers(std::string_view key) const;  // booleans as 0 and 1
  std::optional<std::vector<double>> numbers(std::string_view key) const;
  std::optional<std::vector<std::string_view>> strings(std::string_view key) const;
};

// Validates a whole header against the file's size: counts, lengths, types, alignment, shape overflow, block sizes,
// offsets, overlaps, holes, duplicates. `name` is put into TensorInfo::file and into messages. Errors: format;
// unsupported for version 1, a big-endian file, and tensor types that are not known.
Gguf parse_gguf(std::span<const std::byte> file, const std::string& name);

struct GgufPart {
  std::string file;  // name in the set
  Blob blob;
  Gguf gguf;
};

// A file of the set and, when it is one of `name-00001-of-0000N.gguf`, all N, first to last. TensorInfo::file is the
// name in the set. Errors: as parse_gguf(); io naming a part that is missing; format for parts that do not fit.
std::vector<GgufPart> open_gguf(const FileSet& files, const std::string& name);

// The name of the set's GGUF model: its only file "….gguf", or the first part of its only split one. Empty when there
// is none. Errors: usage when there are several.
std::string find_gguf(const FileSet& files);

}  // namespace streamline
