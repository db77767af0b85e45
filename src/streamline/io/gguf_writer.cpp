// SPDX-License-Identifier: Apache-2.0
#include "streamline/io/gguf_writer.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/io/gguf_cursor.h"
#include "streamline/io/gguf_encode.h"

namespace streamline {
namespace {

constexpr std::uint32_t kVersion = 3;
constexpr std::uint64_t kUsualAlignment = 32;

using gguf::append_number, gguf::append_text;

std::uint64_t alignment_of(const GgufFields& fields) {
  const GgufField* field = fields.find("general.alignment");
  if (field == nullptr) return kUsualAlignment;
  std::uint32_t value = 0;
  SL_ASSERT(field->bytes.size() == sizeof value);
  std::memcpy(&value, field->bytes.data(), sizeof value);
  return value;
}

void append_field(std::string& header, const GgufField& field) {
  append_text(header, field.key);
  append_number(header, static_cast<std::uint32_t>(field.type));
  if (field.type == GgufType::array) {
    append_number(header, static_cast<std::uint32_t>(field.element));
    append_number(header, field.count);
  }
  header.append(field.bytes);
}

void append_tensor(std::string& header, const GgufTensor& tensor, std::uint64_t offset) {
  append_text(header, tensor.name);
  append_number(header, static_cast<std::uint32_t>(tensor.shape.size()));
  for (std::size_t i = tensor.shape.size(); i-- > 0;) append_number(header, tensor.shape[i]);
  append_number(header, gguf_type_id(tensor.dtype));
  append_number(header, offset);
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
  std::string header;
  header.append("GGUF");
  append_number(header, kVersion);
  append_number(header, static_cast<std::uint64_t>(tensors.size()));
  append_number(header, static_cast<std::uint64_t>(fields.all().size()));
  for (const GgufField& field : fields.all()) append_field(header, field);
  std::uint64_t offset = 0;
  std::set<std::string_view> names;
  for (const GgufTensor& tensor : tensors) {
    SL_ASSERT(names.insert(tensor.name).second);
    append_tensor(header, tensor, offset);
    offset = aligned(offset + tensor.size(), alignment);
  }
  header.resize(aligned(header.size(), alignment), '\0');
  return header;
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
