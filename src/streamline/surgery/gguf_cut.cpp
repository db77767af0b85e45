// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/gguf_cut.h"

#include <algorithm>
#include <vector>

#include "streamline/base/error.h"

namespace streamline {
namespace {

// Pieces of one size, by their number in `from`, zeros for -1.
std::vector<std::byte> picked(std::span<const std::byte> from, const std::vector<std::int64_t>& pieces,
                              std::size_t size) {
  std::vector<std::byte> out(pieces.size() * size);
  for (std::size_t i = 0; i < pieces.size(); ++i)
    if (pieces[i] >= 0)
      std::ranges::copy(from.subspan(static_cast<std::size_t>(pieces[i]) * size, size),
                        out.begin() + static_cast<std::ptrdiff_t>(i * size));
  return out;
}

// The blocks that whole blocks of indices are, -1 for zeros.
std::vector<std::int64_t> blocks_of(const std::vector<std::int64_t>& indices, std::int64_t elements) {
  std::vector<std::int64_t> blocks;
  for (std::size_t i = 0; i < indices.size(); i += static_cast<std::size_t>(elements))
    blocks.push_back(indices[i] < 0 ? -1 : indices[i] / elements);
  return blocks;
}

}  // namespace

bool takes_whole_blocks(DType dtype, const TensorCut& cut) {
  const auto elements = static_cast<std::int64_t>(dtype_block(dtype).elements);
  if (cut.dimension == 0 || elements == 1) return true;
  const auto& indices = cut.indices;
  if (std::ssize(indices) % elements != 0) return false;
  for (std::size_t i = 0; i < indices.size(); ++i) {
    const auto place = static_cast<std::int64_t>(i) % elements;
    const std::int64_t first = indices[i - static_cast<std::size_t>(place)];
    if (first < 0 ? indices[i] >= 0 : first % elements != 0 || indices[i] != first + place) return false;
  }
  return true;
}

GgufTensor cut_gguf_tensor(std::span<const std::byte> bytes, const TensorInfo& tensor, std::string name,
                           TensorCut cut) {
  SL_ASSERT(takes_whole_blocks(tensor.dtype, cut) && cut.dimension < std::ssize(tensor.shape));
  GgufTensor result{.name = std::move(name), .dtype = tensor.dtype, .shape = tensor.shape, .write = {}};
  result.shape[static_cast<std::size_t>(cut.dimension)] = std::ssize(cut.indices);
  const auto rows = static_cast<std::size_t>(tensor.shape.front());
  const std::size_t row = bytes.size() / rows;  // of a vector an element
  if (cut.dimension == 0) {
    result.write = [bytes, row, indices = std::move(cut.indices)](const ByteSink& sink) {
      sink(picked(bytes, indices, row));
    };
    return result;
  }
  const DTypeBlock block = dtype_block(tensor.dtype);
  auto blocks = blocks_of(cut.indices, static_cast<std::int64_t>(block.elements));
  result.write = [bytes, rows, row, size = block.bytes, blocks = std::move(blocks)](const ByteSink& sink) {
    for (std::size_t i = 0; i < rows; ++i) sink(picked(bytes.subspan(i * row, row), blocks, size));
  };
  return result;
}

}  // namespace streamline
