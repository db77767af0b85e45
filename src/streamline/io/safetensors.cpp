// SPDX-License-Identifier: Apache-2.0
// Everything in the header comes from a file that may be hostile or cut short: sizes are compared with the file's and
// multiplied with overflow checks, and the tensors must tile the data exactly.
#include "streamline/io/safetensors.h"

#include <algorithm>
#include <cstring>

#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation
constexpr std::string_view kMetadata = "__metadata__";

struct Header {
  Json json;
  std::uint64_t data_start = 0;  // from the start of the file
};

Header read_header(std::span<const std::byte> file, const std::string& name) {
  if (file.size() < kLengthBytes)
    fail(ErrorKind::format, name, ": ", file.size(),
         " bytes are too few for a safetensors file; is the download complete?");
  std::uint64_t length = 0;
  for (std::uint64_t i = 0; i < kLengthBytes; ++i) length |= std::to_integer<std::uint64_t>(file[i]) << (8 * i);
  if (length > kMaxHeaderBytes)
    fail(ErrorKind::format, name, ": the header would be ", length, " bytes long; this is not a safetensors file");
  if (length > file.size() - kLengthBytes)
    fail(ErrorKind::format, name, ": the header is ", length, " bytes long but the file has only ", file.size(),
         "; is the download complete?");
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
  Header header{parse_json(text, name + ": header"), kLengthBytes + length};
  if (!header.json.is_object()) fail(ErrorKind::format, name, ": the header is not a JSON object");
  return header;
}

[[noreturn]] void fail_tensor(const std::string& file, const std::string& tensor, const std::string& what) {
  fail(ErrorKind::format, file, ": tensor '", tensor, "' ", what);
}

// A JSON array of non-negative integers.
std::vector<std::uint64_t> read_integers(const Json& entry, const char* key, const TensorInfo& tensor) {
  const auto found = entry.find(key);
  if (found == entry.end() || !found->is_array())
    fail_tensor(tensor.file, tensor.name, std::string("has no array '") + key + "'");
  std::vector<std::uint64_t> values;
  for (const Json& value : *found) {
    if (!value.is_number_unsigned())
      fail_tensor(
          tensor.file, tensor.name,
          std::string("has '") + key + "' with " + value.dump().substr(0, 40) + "; expected a non-negative integer");
    values.push_back(value.get<std::uint64_t>());
  }
  return values;
}

DType read_dtype(const Json& entry, const TensorInfo& tensor) {
  const auto found = entry.find("dtype");
  if (found == entry.end() || !found->is_string()) fail_tensor(tensor.file, tensor.name, "has no 'dtype'");
  const std::optional<DType> dtype = parse_dtype(found->get_ref<const std::string&>());
  if (!dtype) fail_tensor(tensor.file, tensor.name, "has the unknown dtype " + found->dump().substr(0, 40));
  return *dtype;
}

// Bytes that dtype and shape ask for.
std::uint64_t read_shape(const Json& entry, TensorInfo& tensor) {
  std::uint64_t bytes = dtype_size(tensor.dtype);
  for (const std::uint64_t dimension : read_integers(entry, "shape", tensor)) {
    if (dimension > static_cast<std::uint64_t>(INT64_MAX) || __builtin_mul_overflow(bytes, dimension, &bytes) ||
        bytes > static_cast<std::uint64_t>(INT64_MAX))
      fail_tensor(tensor.file, tensor.name, "has the impossible shape " + entry.at("shape").dump().substr(0, 60));
    tensor.shape.push_back(static_cast<std::int64_t>(dimension));
  }
  return bytes;
}

TensorInfo read_tensor(const std::string& name, const Json& entry, const std::string& file, std::uint64_t data_start,
                       std::uint64_t file_size) {
  TensorInfo tensor;
  tensor.name = name;
  tensor.file = file;
  if (!entry.is_object()) fail_tensor(file, name, "is not described by a JSON object");
  tensor.dtype = read_dtype(entry, tensor);
  const std::uint64_t needed = read_shape(entry, tensor);
  const std::vector<std::uint64_t> offsets = read_integers(entry, "data_offsets", tensor);
  if (offsets.size() != 2 || offsets[0] > offsets[1])
    fail_tensor(file, name, "has 'data_offsets' that are not [begin, end]");
  if (offsets[1] > file_size - data_start)
    fail(ErrorKind::format, file, ": tensor '", name, "' ends at byte ", offsets[1], " of the data but the file has ",
         file_size - data_start, "; is the download complete?");
  tensor.offset = data_start + offsets[0];
  tensor.size = offsets[1] - offsets[0];
  if (tensor.size != needed)
    fail(ErrorKind::format, file, ": tensor '", name, "' occupies ", tensor.size, " bytes but its shape ",
         entry.at("shape").dump(), " in ", dtype_name(tensor.dtype), " needs ", needed);
  return tensor;
}

// Sorted by offset, the tensors must follow each other from the first byte of the data to the last.
void check_tiling(std::vector<TensorInfo> tensors, const std::string& file, std::uint64_t data_start,
                  std::uint64_t file_size) {
  std::stable_sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.offset, a.size) < std::pair(b.offset, b.size);
  });
  std::uint64_t end = data_start;
  const TensorInfo* last = nullptr;
  for (const TensorInfo& tensor : tensors) {
    if (tensor.offset < end) fail_tensor(file, tensor.name, "overlaps tensor '" + last->name + "'");
    if (tensor.offset > end)
      fail_tensor(file, tensor.name, "is preceded by a hole of " + std::to_string(tensor.offset - end) + " bytes");
    end = tensor.offset + tensor.size;
    last = &tensor;
  }
  if (end != file_size)
    fail(ErrorKind::format, file, ": ", file_size - end, " bytes follow the last tensor; the file is damaged");
}

}  // namespace

std::vector<TensorInfo> parse_safetensors(std::span<const std::byte> file, const std::string& name) {
  const Header header = read_header(file, name);
  std::vector<TensorInfo> tensors;
  for (const auto& [key, entry] : header.json.items())
    if (key != kMetadata) tensors.push_back(read_tensor(key, entry, name, header.data_start, file.size()));
  check_tiling(tensors, name, header.data_start, file.size());
  return tensors;
}

std::map<std::string, std::string> safetensors_metadata(std::span<const std::byte> file, const std::string& name) {
  const Header header = read_header(file, name);
  std::map<std::string, std::string> metadata;
  const auto found = header.json.find(std::string(kMetadata));
  if (found == header.json.end()) return metadata;
  if (!found->is_object()) fail(ErrorKind::format, name, ": '__metadata__' is not a JSON object");
  for (const auto& [key, value] : found->items()) {
    if (!value.is_string()) fail(ErrorKind::format, name, ": '__metadata__' has '", key, "' that is not a string");
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

std::string safetensors_header(const std::vector<TensorHeader>& tensors,
                               const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header[std::string(kMetadata)] = metadata;
  std::uint64_t offset = 0;
  for (const TensorHeader& tensor : tensors) {
    const std::uint64_t end = offset + tensor.size();
    header[tensor.name] = {
        {"dtype", dtype_name(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data starts aligned
  std::string bytes(kLengthBytes, '\0');
  for (std::uint64_t i = 0; i < kLengthBytes; ++i) bytes[i] = static_cast<char>(text.size() >> (8 * i) & 0xff);
  return bytes + text;
}

std::uint64_t TensorHeader::size() const {
  std::uint64_t bytes = dtype_size(dtype);
  for (const std::int64_t dimension : shape) {
    SL_ASSERT(dimension >= 0 && !__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(dimension), &bytes));
  }
  return bytes;
}

}  // namespace streamline
