// SPDX-License-Identifier: Apache-2.0
#include "streamline/io/gguf_writer.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/io/gguf_cursor.h"

namespace streamline {
namespace {

constexpr std::uint32_t kVersion = 3;
constexpr std::uint64_t kAlignment = 32;

class Encoder {
 public:
  template <class T>
  void number(T value) {
    char encoded[sizeof value];
    std::memcpy(encoded, &value, sizeof value);
    text_.append(encoded, sizeof encoded);
  }
  void string(std::string_view text) {
    number(static_cast<std::uint64_t>(text.size()));
    text_.append(text);
  }
  void raw(std::string_view bytes) { text_.append(bytes); }
  void pad(std::uint64_t alignment) { text_.resize(aligned(text_.size(), alignment), '\0'); }
  std::string take() && { return std::move(text_); }

 private:
  std::string text_;
};

std::uint64_t alignment_of(const GgufFields& fields) {
  const GgufField* field = fields.find("general.alignment");
  if (field == nullptr) return kAlignment;
  std::uint32_t value = 0;
  SL_ASSERT(field->bytes.size() == sizeof value);
  std::memcpy(&value, field->bytes.data(), sizeof value);
  return value;
}

void encode_field(Encoder& encoder, const GgufField& field) {
  encoder.string(field.key);
  encoder.number(static_cast<std::uint32_t>(field.type));
  if (field.type == GgufType::array) {
    encoder.number(static_cast<std::uint32_t>(field.element));
    encoder.number(field.count);
  }
  encoder.raw(field.bytes);
}

void encode_tensor(Encoder& encoder, const GgufTensor& tensor, std::uint64_t offset) {
  encoder.string(tensor.name);
  encoder.number(static_cast<std::uint32_t>(tensor.shape.size()));
  for (std::size_t i = tensor.shape.size(); i-- > 0;) encoder.number(tensor.shape[i]);
  encoder.number(gguf_type_id(tensor.dtype));
  encoder.number(offset);
}

void write_padding(OutputFile& file, std::uint64_t size, std::uint64_t alignment) {
  const std::vector<std::byte> zeros(aligned(size, alignment) - size);
  file.write(std::span<const std::byte>(zeros));
}

}  // namespace

std::uint64_t GgufTensor::size() const {
  const DTypeBlock block = dtype_block(dtype);
  std::uint64_t elements = 1;
  for (const std::int64_t dimension : shape) elements *= static_cast<std::uint64_t>(dimension);
  SL_ASSERT(shape.empty() || static_cast<std::uint64_t>(shape.back()) % block.elements == 0);
  return elements / block.elements * block.bytes;
}

std::string gguf_header(const GgufFields& fields, const std::vector<GgufTensor>& tensors) {
  const std::uint64_t alignment = alignment_of(fields);
  Encoder encoder;
  encoder.raw("GGUF");
  encoder.number(kVersion);
  encoder.number(static_cast<std::uint64_t>(tensors.size()));
  encoder.number(static_cast<std::uint64_t>(fields.all().size()));
  for (const GgufField& field : fields.all()) encode_field(encoder, field);
  std::uint64_t offset = 0;
  std::set<std::string_view> names;
  for (const GgufTensor& tensor : tensors) {
    SL_ASSERT(names.insert(tensor.name).second);
    encode_tensor(encoder, tensor, offset);
    offset = aligned(offset + tensor.size(), alignment);
  }
  encoder.pad(alignment);
  return std::move(encoder).take();
}

void write_gguf(OutputFile& file, const GgufFields& fields, const std::vector<GgufTensor>& tensors) {
  const std::uint64_t alignment = alignment_of(fields);
  std::uint64_t total = 0;
  for (const GgufTensor& tensor : tensors) total += tensor.size();
  Progress progress("writing weights", static_cast<std::int64_t>(total), "bytes");
  file.write(gguf_header(fields, tensors));
  for (const GgufTensor& tensor : tensors) {
    std::uint64_t written = 0;
    tensor.write([&](std::span<const std::byte> bytes) {
      file.write(bytes);
      written += bytes.size();
      progress.advance(static_cast<std::int64_t>(bytes.size()));
    });
    SL_ASSERT(written == tensor.size());
    write_padding(file, written, alignment);
  }
}

}  // namespace streamline
