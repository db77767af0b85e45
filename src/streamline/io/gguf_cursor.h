// SPDX-License-Identifier: Apache-2.0
// What the two halves of the GGUF parser share: reading forward with checks, and names in messages.
#pragma once

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/base/error.h"
#include "streamline/io/gguf.h"

namespace streamline {

// Strings from the file in a message: not endless, and one line.
inline std::string in_quotes(std::string_view text) {
  std::string shown = "'";
  for (const char c : text.substr(0, 80)) shown += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  return shown + (text.size() > 80 ? "…'" : "'");
}

// Reads forward through the header.
class GgufCursor {
 public:
  GgufCursor(std::span<const std::byte> file, const std::string& where) : file_(file), where_(where) {}

  std::uint64_t position() const { return position_; }
  std::uint64_t left() const { return file_.size() - position_; }

  std::span<const std::byte> bytes(std::uint64_t count, const char* what) {
    if (count > left())
      fail(ErrorKind::format, where_, ": ends within ", what, ", which would take ", count, " bytes at ", position_,
           " but the file has ", file_.size(), "; is the download complete?");
    const auto taken = file_.subspan(position_, count);
    position_ += count;
    return taken;
  }
  template <class T>
  T number(const char* what) {
    T value;
    std::memcpy(&value, bytes(sizeof value, what).data(), sizeof value);
    return value;
  }
  std::string_view string(const char* what) {
    const auto text = bytes(number<std::uint64_t>(what), what);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }
  GgufType type(std::string_view key) {
    const auto value = number<std::uint32_t>("a metadata entry");
    if (value > static_cast<std::uint32_t>(GgufType::f64))
      fail(ErrorKind::format, where_, ": ", in_quotes(key), " has a value of the unknown type ", value);
    return static_cast<GgufType>(value);
  }

 private:
  std::span<const std::byte> file_;
  const std::string& where_;
  std::uint64_t position_ = 0;
};

// Errors: format if two of the names are the same.
void check_unique(std::vector<std::string_view> names, const std::string& where, const char* what);

// GGUF's number of a tensor type. Errors: unsupported for one that it does not have.
std::uint32_t gguf_type_id(DType dtype);

// The tensors' descriptions at the cursor: types, shapes, and offsets, still from the start of the data.
// Errors: format, unsupported.
std::vector<TensorInfo> read_gguf_tensors(GgufCursor& cursor, const Gguf& gguf, std::uint64_t count);
// Makes the offsets those from the start of the file; the tensors must tile the data but for padding. Errors: format.
void place_gguf_tensors(Gguf& gguf, std::uint64_t file_size);

// The next multiple of the alignment. Neither overflows: positions are within the file, alignments below 2^32.
inline std::uint64_t aligned(std::uint64_t position, std::uint64_t alignment) {
  return (position + alignment - 1) / alignment * alignment;
}

}  // namespace streamline
