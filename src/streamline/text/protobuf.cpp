// SPDX-License-Identifier: Apache-2.0
#include "streamline/text/protobuf.h"

#include "streamline/base/error.h"

namespace streamline {
namespace {

class Reader {
 public:
  Reader(std::string_view message, std::string_view where) : rest_(message), where_(where) {}
  bool done() const { return rest_.empty(); }

  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= std::uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    fail(ErrorKind::format, where_, ": not a SentencePiece model: a number of more than 64 bits");
  }

  std::uint64_t fixed(int size) {
    const std::string_view bytes = take(size);
    std::uint64_t value = 0;
    for (int i = 0; i < size; ++i) value |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << 8 * i;
    return value;
  }

  std::string_view take(std::uint64_t size) {
    if (size > rest_.size()) fail(ErrorKind::format, where_, ": not a SentencePiece model, or truncated");
    const std::string_view bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return bytes;
  }

  [[noreturn]] void fail_type(std::uint64_t type) {
    fail(ErrorKind::format, where_, ": not a SentencePiece model: wire type ", type);
  }

 private:
  std::string_view rest_, where_;
};

}  // namespace

void read_fields(std::string_view message, std::string_view where,
                 const std::function<void(const ProtobufField&)>& take) {
  Reader reader(message, where);
  while (!reader.done()) {
    const std::uint64_t tag = reader.varint();
    ProtobufField field{.number = tag >> 3, .value = 0, .bytes = {}};
    switch (tag & 7) {
      case 0:
        field.value = reader.varint();
        break;
      case 1:
        field.value = reader.fixed(8);
        break;
      case 2:
        field.bytes = reader.take(reader.varint());
        break;
      case 5:
        field.value = reader.fixed(4);
        break;
      default:
        reader.fail_type(tag & 7);
    }
    take(field);
  }
}

}  // namespace streamline
