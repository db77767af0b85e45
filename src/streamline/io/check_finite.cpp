// SPDX-License-Identifier: Apache-2.0
// A value is NaN or infinite exactly when its exponent bits are all ones, so a scan compares masked integers: no
// conversion, and one vector instruction for many elements. Bound by memory bandwidth.
#include <algorithm>
#include <cstring>
#include <vector>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/io/checkpoint.h"
#include "streamline/io/dequantize.h"

namespace streamline {
namespace {

constexpr std::size_t kBlock = 1024;  // elements a step; a fixed count, so that the compiler vectorises

template <class Word>
bool block_has_ones(const std::byte* data, std::size_t count, Word exponent) {
  Word words[kBlock];
  std::memcpy(words, data, count * sizeof(Word));
  if (count < kBlock) std::memset(words + count, 0, (kBlock - count) * sizeof(Word));
  Word found = 0;
  for (std::size_t i = 0; i < kBlock; ++i)
    found = static_cast<Word>(found | ((words[i] & exponent) == exponent ? Word(~Word(0)) : Word(0)));
  return found != 0;
}

// Index of the first element whose exponent is all ones, or `data.size() / sizeof(Word)`.
template <class Word>
std::size_t first_not_finite(std::span<const std::byte> data, Word exponent) {
  const std::size_t count = data.size() / sizeof(Word);
  for (std::size_t start = 0; start < count; start += kBlock) {
    const std::size_t step = std::min(kBlock, count - start);
    if (!block_has_ones(data.data() + start * sizeof(Word), step, exponent)) continue;
    for (std::size_t i = start;; ++i) {
      Word word;
      std::memcpy(&word, data.data() + i * sizeof(Word), sizeof word);
      if ((word & exponent) == exponent) return i;
    }
  }
  return count;
}

std::size_t elements_of(DType dtype, std::span<const std::byte> data) {
  return data.size() / dtype_block(dtype).bytes * dtype_block(dtype).elements;
}

std::size_t first_not_finite_element(DType dtype, std::span<const std::byte> data) {
  switch (dtype) {
    case DType::bf16:
      return first_not_finite<std::uint16_t>(data, 0x7f80);
    case DType::f16:
      return first_not_finite<std::uint16_t>(data, 0x7c00);
    case DType::f32:
      return first_not_finite<std::uint32_t>(data, 0x7f800000);
    case DType::f64:
      return first_not_finite<std::uint64_t>(data, 0x7ff0000000000000);
    case DType::f8_e5m2:
      return first_not_finite<std::uint8_t>(data, 0x7c);
    case DType::f8_e4m3:  // no infinities; NaN alone has all ones
      return first_not_finite<std::uint8_t>(data, 0x7f);
    default:
      return elements_of(dtype, data);
  }
}

// The same where a block is infinite when its scale is.
std::size_t first_not_finite_block(DType dtype, std::span<const std::byte> data) {
  const DTypeBlock block = dtype_block(dtype);
  std::vector<float> numbers(kBlock * block.elements);
  for (std::size_t start = 0; start < data.size(); start += kBlock * block.bytes) {
    const auto blocks = data.subspan(start, std::min(kBlock * block.bytes, data.size() - start));
    const std::span<float> step = std::span(numbers).first(elements_of(dtype, blocks));
    dequantize(dtype, blocks, step);
    const std::size_t at = first_not_finite_element(DType::f32, std::as_bytes(step));
    if (at < step.size()) return elements_of(dtype, data.first(start)) + at;
  }
  return elements_of(dtype, data);
}

}  // namespace

void check_finite(const Checkpoint& checkpoint) {
  Progress progress("checking weights", static_cast<std::int64_t>(checkpoint.total_bytes() >> 20), "MiB");
  std::uint64_t unreported = 0;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    const std::span<const std::byte> data = checkpoint.bytes(tensor);
    const bool blocks = is_quantised(tensor.dtype) && can_dequantize(tensor.dtype);
    const std::size_t at = (blocks ? first_not_finite_block : first_not_finite_element)(tensor.dtype, data);
    if (at < elements_of(tensor.dtype, data))
      fail(ErrorKind::numeric, checkpoint.files().label(), "/", tensor.file, ": tensor '", tensor.name,
           "' holds NaN or infinity (element ", at, ")");
    unreported += tensor.size;
    progress.advance(static_cast<std::int64_t>(unreported >> 20));
    unreported &= (1u << 20) - 1;
  }
}

}  // namespace streamline
