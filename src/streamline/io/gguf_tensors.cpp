// SPDX-License-Identifier: Apache-2.0
// The tensors' descriptions: what they claim is checked against GGUF's rules and against the size of the file.
#include <algorithm>

#include "streamline/io/gguf_cursor.h"

namespace streamline {
namespace {

constexpr std::uint32_t kMaxDimensions = 4;

struct TensorType {
  std::uint32_t id;
  DType dtype;
};
constexpr TensorType kTensorTypes[] = {
    {0, DType::f32},     {1, DType::f16},      {2, DType::q4_0},   {3, DType::q4_1},    {6, DType::q5_0},
    {7, DType::q5_1},    {8, DType::q8_0},     {9, DType::q8_1},   {10, DType::q2_k},   {11, DType::q3_k},
    {12, DType::q4_k},   {13, DType::q5_k},    {14, DType::q6_k},  {15, DType::q8_k},   {16, DType::iq2_xxs},
    {17, DType::iq2_xs}, {18, DType::iq3_xxs}, {19, DType::iq1_s}, {20, DType::iq4_nl}, {21, DType::iq3_s},
    {22, DType::iq2_s},  {23, DType::iq4_xs},  {24, DType::i8},    {25, DType::i16},    {26, DType::i32},
    {27, DType::i64},    {28, DType::f64},     {29, DType::iq1_m}, {30, DType::bf16},   {34, DType::tq1_0},
    {35, DType::tq2_0},  {39, DType::mxfp4},   {40, DType::nvfp4}, {41, DType::q1_0},
};

[[noreturn]] void fail_tensor(const TensorInfo& tensor, const std::string& what) {
  fail(ErrorKind::format, tensor.file, ": tensor ", in_quotes(tensor.name), " ", what);
}

DType read_tensor_type(GgufCursor& cursor, const TensorInfo& tensor) {
  const auto id = cursor.number<std::uint32_t>("a tensor's description");
  for (const TensorType& type : kTensorTypes)
    if (type.id == id) return type.dtype;
  fail(ErrorKind::unsupported, tensor.file, ": tensor ", in_quotes(tensor.name), " has the type ", id,
       ", which is not known; was the file made by a newer llama.cpp?");
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t dimension : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(dimension);
  return text + "]";
}

// Bytes that type and shape ask for.
std::uint64_t tensor_size(const TensorInfo& tensor) {
  const DTypeBlock block = dtype_block(tensor.dtype);
  std::uint64_t elements = 1;
  for (const std::int64_t dimension : tensor.shape)
    if (dimension < 0 || __builtin_mul_overflow(elements, static_cast<std::uint64_t>(dimension), &elements) ||
        elements > static_cast<std::uint64_t>(INT64_MAX) / block.bytes)
      fail_tensor(tensor, "has the impossible shape " + shape_text(tensor.shape));
  const std::uint64_t row = tensor.shape.empty() ? 1 : static_cast<std::uint64_t>(tensor.shape.back());
  if (row % block.elements != 0)
    fail_tensor(tensor, "has rows of " + std::to_string(row) + " elements; " + std::string(dtype_name(tensor.dtype)) +
                            " stores blocks of " + std::to_string(block.elements));
  return elements / block.elements * block.bytes;
}

// The offset is still that from the start of the data.
TensorInfo read_tensor(GgufCursor& cursor, const Gguf& gguf) {
  TensorInfo tensor;
  tensor.file = gguf.where;
  tensor.name = std::string(cursor.string("a tensor's name"));
  if (tensor.name.empty()) fail(ErrorKind::format, gguf.where, ": a tensor has no name");
  const auto dimensions = cursor.number<std::uint32_t>("a tensor's description");
  if (dimensions > kMaxDimensions)
    fail_tensor(tensor, "has " + std::to_string(dimensions) + " dimensions; GGUF allows 4");
  for (std::uint32_t i = 0; i < dimensions; ++i)
    tensor.shape.push_back(cursor.number<std::int64_t>("a tensor's description"));
  std::reverse(tensor.shape.begin(), tensor.shape.end());  // GGUF names the contiguous dimension first
  tensor.dtype = read_tensor_type(cursor, tensor);
  tensor.size = tensor_size(tensor);
  tensor.offset = cursor.number<std::uint64_t>("a tensor's description");
  if (tensor.offset % gguf.alignment != 0)
    fail_tensor(tensor, "lies at " + std::to_string(tensor.offset) + ", which is not a multiple of the alignment " +
                            std::to_string(gguf.alignment));
  return tensor;
}

void place_tensors(Gguf& gguf, std::uint64_t file_size) {
  const std::uint64_t data_size = file_size - std::min(file_size, gguf.data_start);
  for (TensorInfo& tensor : gguf.tensors) {
    if (gguf.data_start > file_size || tensor.offset > data_size || tensor.size > data_size - tensor.offset)
      fail(ErrorKind::format, tensor.file, ": tensor ", in_quotes(tensor.name), " takes ", tensor.size, " bytes at ",
           tensor.offset, " of the data but the file has ", data_size, "; is the download complete?");
    tensor.offset += gguf.data_start;
  }
}

// Sorted by offset, each tensor must begin where the padding after the one before it ends.
void check_tiling(const Gguf& gguf, std::uint64_t file_size) {
  std::vector<const TensorInfo*> tensors;
  for (const TensorInfo& tensor : gguf.tensors) tensors.push_back(&tensor);
  std::stable_sort(tensors.begin(), tensors.end(), [](const TensorInfo* a, const TensorInfo* b) {
    return std::pair(a->offset, a->size) < std::pair(b->offset, b->size);
  });
  std::uint64_t end = gguf.data_start;
  const TensorInfo* last = nullptr;
  for (const TensorInfo* tensor : tensors) {
    if (tensor->offset < end) fail_tensor(*tensor, "overlaps tensor " + in_quotes(last->name));
    if (tensor->offset > aligned(end, gguf.alignment))
      fail_tensor(*tensor, "is preceded by a hole of " + std::to_string(tensor->offset - end) + " bytes");
    end = tensor->offset + tensor->size;
    last = tensor;
  }
  if (file_size > aligned(end, gguf.alignment))
    fail(ErrorKind::format, gguf.where, ": ", file_size - end, " bytes follow the last tensor; the file is damaged");
}

}  // namespace

std::uint32_t gguf_type_id(DType dtype) {
  for (const TensorType& type : kTensorTypes)
    if (type.dtype == dtype) return type.id;
  fail(ErrorKind::unsupported, "GGUF files do not store ", dtype_name(dtype));
}

std::vector<TensorInfo> read_gguf_tensors(GgufCursor& cursor, const Gguf& gguf, std::uint64_t count) {
  std::vector<TensorInfo> tensors;
  for (std::uint64_t i = 0; i < count; ++i) tensors.push_back(read_tensor(cursor, gguf));
  std::vector<std::string_view> names;
  names.reserve(tensors.size());
  for (const TensorInfo& tensor : tensors) names.push_back(tensor.name);
  check_unique(std::move(names), gguf.where, "tensor");
  return tensors;
}

void place_gguf_tensors(Gguf& gguf, std::uint64_t file_size) {
  place_tensors(gguf, file_size);
  check_tiling(gguf, file_size);
}

}  // namespace streamline
