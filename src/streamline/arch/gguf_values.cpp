// SPDX-License-Identifier: Apache-2.0
// The values of a GGUF tensor, read from a checkpoint, changed and rounded piece by piece.
#include <algorithm>
#include <cmath>

#include "streamline/arch/gguf_layout.h"
#include "streamline/base/error.h"
#include "streamline/io/quantize.h"
#include "streamline/io/tensor_values.h"

namespace streamline {
namespace {

constexpr std::int64_t kPiece = 1 << 20;  // elements read at once, about

class Writer {
 public:
  Writer(const Checkpoint& checkpoint, const GgufLayoutTensor& tensor, DType type, const ByteSink& sink)
      : checkpoint_(checkpoint), tensor_(tensor), type_(type), sink_(sink) {}

  // `rows` rows of the source from its first, or as the order says.
  void write(const TensorInfo& source, std::int64_t rows, std::int64_t width) {
    if (tensor_.transposed) return write_turned(source, rows, width);
    if (source.shape.size() < 2) return write_whole(source);
    if (is_copy(source))
      return sink_(checkpoint_.bytes(source).first(checkpoint_.bytes(source).size() * static_cast<std::size_t>(rows) /
                                                   static_cast<std::size_t>(row_count(source))));
    const std::int64_t piece = std::max<std::int64_t>(kPiece / width, 1);
    for (std::int64_t first = 0; first < rows; first += piece) {
      const std::int64_t count = std::min(piece, rows - first);
      values_.resize(static_cast<std::size_t>(count * width));
      read(source, first, count, width);
      store();
    }
  }

 private:
  bool is_copy(const TensorInfo& source) const {
    return source.is_plain() && source.dtype == type_ && tensor_.row_order.empty() && tensor_.offset == 0 &&
           tensor_.factor == 1;
  }

  void read(const TensorInfo& source, std::int64_t first, std::int64_t count, std::int64_t width) {
    const std::span<float> all(values_);
    if (tensor_.row_order.empty()) return read_rows(checkpoint_, source, first, count, all);
    for (std::int64_t i = 0; i < count; ++i)
      read_rows(checkpoint_, source, tensor_.row_order[static_cast<std::size_t>(first + i)], 1,
                all.subspan(static_cast<std::size_t>(i * width), static_cast<std::size_t>(width)));
  }

  // Columns of a matrix as rows, or of several matrices one after the other; `width` is the height of one.
  void write_turned(const TensorInfo& source, std::int64_t rows, std::int64_t width) {
    const std::int64_t matrices = row_count(source) / width, columns = source.shape.back();
    std::vector<float> stored(static_cast<std::size_t>(width * columns));
    for (std::int64_t matrix = 0; matrix < matrices; ++matrix) {
      read_rows(checkpoint_, source, matrix * width, width, stored);
      values_.resize(static_cast<std::size_t>(rows / matrices * width));
      for (std::int64_t row = 0; row < rows / matrices; ++row)
        for (std::int64_t i = 0; i < width; ++i)
          values_[static_cast<std::size_t>(row * width + i)] =
              stored[static_cast<std::size_t>(i * columns + tensor_.column + row)];
      store();
    }
  }

  // A vector, whose elements the order is about.
  void write_whole(const TensorInfo& source) {
    std::vector<float> stored(static_cast<std::size_t>(source.elements()));
    read_rows(checkpoint_, source, 0, row_count(source), stored);
    if (tensor_.row_order.empty()) {
      values_ = std::move(stored);
    } else {
      values_.clear();
      for (const std::int64_t element : tensor_.row_order) values_.push_back(stored[static_cast<std::size_t>(element)]);
    }
    store();
  }

  void store() {
    if (tensor_.offset != 0)
      for (float& value : values_) value += tensor_.offset;
    if (tensor_.factor != 1)
      for (float& value : values_) value *= tensor_.factor;
    for (const float value : values_)
      if (!std::isfinite(value))
        fail(ErrorKind::numeric, checkpoint_.label(), ": tensor '", tensor_.sources.front()->name, "' holds ", value);
    const DTypeBlock block = dtype_block(type_);
    bytes_.resize(values_.size() / block.elements * block.bytes);
    if (!quantize(type_, values_, bytes_))
      fail(ErrorKind::numeric, checkpoint_.label(), ": tensor '", tensor_.sources.front()->name,
           "' holds numbers that ", dtype_name(type_), " cannot store; bf16 and f32 can");
    sink_(bytes_);
  }

  const Checkpoint& checkpoint_;
  const GgufLayoutTensor& tensor_;
  DType type_;
  const ByteSink& sink_;
  std::vector<float> values_;
  std::vector<std::byte> bytes_;
};

}  // namespace

GgufTensor gguf_tensor(const Checkpoint& checkpoint, const GgufLayoutTensor& tensor, DType type) {
  GgufTensor result{.name = tensor.name, .dtype = type, .shape = tensor.shape, .write = {}};
  if (tensor.sources.empty()) {
    result.write = [size = result.size()](const ByteSink& sink) { sink(std::vector<std::byte>(size)); };
    return result;
  }
  result.write = [&checkpoint, tensor, type](const ByteSink& sink) {
    const std::int64_t width = tensor.shape.back();
    std::int64_t rows = 1;
    for (const std::int64_t dimension : tensor.shape) rows *= dimension;
    rows /= width * static_cast<std::int64_t>(tensor.sources.size());
    Writer writer(checkpoint, tensor, type, sink);
    for (const TensorInfo* source : tensor.sources) writer.write(*source, rows, width);
  };
  return result;
}

}  // namespace streamline
