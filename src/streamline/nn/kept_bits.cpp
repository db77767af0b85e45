// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/kept_bits.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

#include "streamline/base/error.h"
#include "streamline/base/simd.h"

namespace streamline {
namespace {

constexpr std::int64_t kBytesOfThread = 1 << 16;  // that are worth another thread

template <class Word>
SL_INLINE void pack_kept_body(const Word* words, std::uint8_t* bits, std::int64_t bytes) {
  for (std::int64_t i = 0; i < bytes; ++i) {
    unsigned byte = 0;
    for (unsigned j = 0; j < 8; ++j) byte |= static_cast<unsigned>(words[8 * i + j] != 0) << j;
    bits[i] = static_cast<std::uint8_t>(byte);
  }
}

template <class Word>
SL_INLINE void zero_others_body(Word* words, const std::uint8_t* bits, std::int64_t bytes) {
  for (std::int64_t i = 0; i < bytes; ++i)
    for (unsigned j = 0; j < 8; ++j)
      words[8 * i + j] = static_cast<Word>(words[8 * i + j] & -static_cast<Word>((bits[i] >> j) & 1));
}

#define SL_KERNELS(T)                                                                                    \
  SL_DISPATCH(pack_kept, (const T* words, std::uint8_t* bits, std::int64_t bytes), (words, bits, bytes)) \
  SL_DISPATCH(zero_others, (T * words, const std::uint8_t* bits, std::int64_t bytes), (words, bits, bytes))
SL_KERNELS(std::uint16_t)
SL_KERNELS(std::uint32_t)
SL_KERNELS(std::uint64_t)
#undef SL_KERNELS

// Calls work with a pointer to the elements of a tensor in one piece as words.
template <class Work>
void with_words(const torch::Tensor& tensor, Work&& work) {
  SL_ASSERT(tensor.is_contiguous() && tensor.device().is_cpu());
  if (tensor.element_size() == 2) return work(static_cast<std::uint16_t*>(tensor.data_ptr()));
  if (tensor.element_size() == 4) return work(static_cast<std::uint32_t*>(tensor.data_ptr()));
  SL_ASSERT(tensor.element_size() == 8);
  work(static_cast<std::uint64_t*>(tensor.data_ptr()));
}

}  // namespace

std::int64_t bytes_of_bits(const torch::Tensor& tensor) { return (tensor.numel() + 7) / 8; }

torch::Tensor kept_bits(const torch::Tensor& pruned) {
  const auto whole = pruned.contiguous();
  auto bits = torch::zeros({bytes_of_bits(whole)}, torch::kByte);
  auto* data = bits.data_ptr<std::uint8_t>();
  const std::int64_t full = whole.numel() / 8;
  with_words(whole, [&](const auto* words) {
    at::parallel_for(0, full, kBytesOfThread, [&](std::int64_t first, std::int64_t last) {
      pack_kept(words + 8 * first, data + first, last - first);
    });
    for (std::int64_t i = 8 * full; i < whole.numel(); ++i)
      data[full] = static_cast<std::uint8_t>(data[full] | (static_cast<unsigned>(words[i] != 0) << (i % 8)));
  });
  return bits;
}

torch::Tensor with_kept(const torch::Tensor& stored, const torch::Tensor& bits) {
  SL_ASSERT(bits.scalar_type() == torch::kByte && bits.numel() == bytes_of_bits(stored));
  auto kept = stored.clone(at::MemoryFormat::Contiguous);
  const auto* data = bits.const_data_ptr<std::uint8_t>();
  const std::int64_t full = kept.numel() / 8;
  with_words(kept, [&](auto* words) {
    at::parallel_for(0, full, kBytesOfThread, [&](std::int64_t first, std::int64_t last) {
      zero_others(words + 8 * first, data + first, last - first);
    });
    for (std::int64_t i = 8 * full; i < kept.numel(); ++i)
      if (((data[full] >> (i % 8)) & 1) == 0) words[i] = 0;
  });
  return kept;
}

}  // namespace streamline
