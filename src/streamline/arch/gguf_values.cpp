// SPDX-License-Identifier: Apache-2.0
// The values of a GGUF tensor, read from a checkpoint, changed and rounded piece by piece.
#include <algorithm>
#include <cmath>
#include <deque>
#include <future>

#include "streamline/arch/gguf_layout.h"
#include "streamline/base/error.h"
#include "streamline/io/quantize.h"
#include "streamline/io/tensor_values.h"

namespace streamline {
namespace {

constexpr std::int64_t kPiece = 1 << 20;  // elements read at once, about
constexpr std::size_t kMostPieces = 8;    // in memory at a time, of 4 to 8 MB each

class Writer {
 public:
  Writer(const Checkpoint& checkpoint, const GgufLayoutTensor& tensor, DType type, int threads, const ByteSink& sink)
      : checkpoint_(checkpoint),
        tensor_(tensor),
        type_(type),
        threads_(std::clamp<std::size_t>(static_cast<std::size_t>(threads), 1, kMostPieces)),
        sink_(sink) {}

  // `rows` rows of the source from its first, or as the order says.
  void write(const TensorInfo& source, std::int64_t rows, std::int64_t width) {
    if (tensor_.transposed) return write_turned(source, rows, width);
    if (source.shape.size() < 2) return write_whole(source);
    if (is_copy(source))
      return sink_(checkpoint_.bytes(source).first(checkpoint_.bytes(source).size() * static_cast<std::size_t>(rows) /
                                                   static_cast<std::size_t>(row_count(source))));
    write_pieces(source, rows, width);
  }

 private:
  bool is_copy(const TensorInfo& source) const {
    return source.is_plain() && source.dtype == type_ && tensor_.row_order.empty() && tensor_.offset == 0 &&
           tensor_.factor == 1;
  }

  // In the order of the rows, each piece on a thread of its own.
  void write_pieces(const TensorInfo& source, std::int64_t rows, std::int64_t width) {
    const std::int64_t piece = std::max<std::int64_t>(kPiece / width, 1);
    const std::launch where = threads_ > 1 && rows > piece ? std::launch::async : std::launch::deferred;
    std::deque<std::future<std::vector<std::byte>>> pieces;
    const auto write_first = [&] {
      sink_(pieces.front().get());
      pieces.pop_front();
    };
    for (std::int64_t first = 0; first < rows; first += piece) {
      if (pieces.size() == threads_) write_first();
      pieces.push_back(std::async(where, [this, &source, first, count = std::min(piece, rows - first), width] {
        return stored(read(source, first, count, width));
      }));
    }
    while (!pieces.empty()) write_first();
  }

  std::vector<float> read(const TensorInfo& source, std::int64_t first, std::int64_t count, std::int64_t width) const {
    std::vector<float> values(static_cast<std::size_t>(count * width));
    const std::span<float> all(values);
    if (tensor_.row_order.empty()) read_rows(checkpoint_, source, first, count, all);
    for (std::int64_t i = 0; i < count && !tensor_.row_order.empty(); ++i)
      read_rows(checkpoint_, source, tensor_.row_order[static_cast<std::size_t>(first + i)], 1,
                all.subspan(static_cast<std::size_t>(i * width), static_cast<std::size_t>(width)));
    return values;
  }

  // Columns of a matrix as rows, or of several matrices one after the other; `width` is the height of one.
  void write_turned(const TensorInfo& source, std::int64_t rows, std::int64_t width) {
    const std::int64_t matrices = row_count(source) / width, columns = source.shape.back();
    std::vector<float> whole(static_cast<std::size_t>(width * columns));
    for (std::int64_t matrix = 0; matrix < matrices; ++matrix) {
      read_rows(checkpoint_, source, matrix * width, width, whole);
      std::vector<float> values(static_cast<std::size_t>(rows / matrices * width));
      for (std::int64_t row = 0; row < rows / matrices; ++row)
        for (std::int64_t i = 0; i < width; ++i)
          values[static_cast<std::size_t>(row * width + i)] =
              whole[static_cast<std::size_t>(i * columns + tensor_.column + row)];
      sink_(stored(std::move(values)));
    }
  }

  // A vector, whose elements the order is about.
  void write_whole(const TensorInfo& source) {
    std::vector<float> whole(static_cast<std::size_t>(source.elements()));
    read_rows(checkpoint_, source, 0, row_count(source), whole);
    if (tensor_.row_order.empty()) return sink_(stored(std::move(whole)));
    std::vector<float> values;
    for (const std::int64_t element : tensor_.row_order) values.push_back(whole[static_cast<std::size_t>(element)]);
    sink_(stored(std::move(values)));
  }

  std::vector<std::byte> stored(std::vector<float> values) const {
    if (tensor_.offset != 0)
      for (float& value : values) value += tensor_.offset;
    if (tensor_.factor != 1)
      for (float& value : values) value *= tensor_.factor;
    for (const float value : values)
      if (!std::isfinite(value))
        fail(ErrorKind::numeric, checkpoint_.label(), ": tensor '", tensor_.sources.front()->name, "' holds ", value);
    const DTypeBlock block = dtype_block(type_);
    std::vector<std::byte> bytes(values.size() / block.elements * block.bytes);
    if (!quantize(type_, values, bytes))
      fail(ErrorKind::numeric, checkpoint_.label(), ": tensor '", tensor_.sources.front()->name,
           "' holds numbers that ", dtype_name(type_), " cannot store; bf16 and f32 can");
    return bytes;
  }

  const Checkpoint& checkpoint_;
  const GgufLayoutTensor& tensor_;
  DType type_;
  std::size_t threads_;
  const ByteSink& sink_;
};

}  // namespace

GgufTensor gguf_tensor(const Checkpoint& checkpoint, const GgufLayoutTensor& tensor, DType type, int threads) {
  GgufTensor result{.name = tensor.name, .dtype = type, .shape = tensor.shape, .write = {}};
  if (tensor.sources.empty()) {
    result.write = [size = result.size()](const ByteSink& sink) { sink(std::vector<std::byte>(size)); };
    return result;
  }
  result.write = [&checkpoint, tensor, type, threads](const ByteSink& sink) {
    const std::int64_t width = tensor.shape.back();
    std::int64_t rows = 1;
    for (const std::int64_t dimension : tensor.shape) rows *= dimension;
    rows /= width * static_cast<std::int64_t>(tensor.sources.size());
    Writer writer(checkpoint, tensor, type, threads, sink);
    for (const TensorInfo* source : tensor.sources) writer.write(*source, rows, width);
  };
  return result;
}

}  // namespace streamline
