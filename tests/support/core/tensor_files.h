// SPDX-License-Identifier: Apache-2.0
// Safetensors files made in memory.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "streamline/io/safetensors.h"

namespace streamline::test {

// Header length, header, data, with nothing checked: also for files that are wrong on purpose.
inline std::string raw_safetensors(const std::string& header, const std::string& data) {
  std::string length(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> (8 * i) & 0xff);
  return length + header + data;
}

struct TestTensor {
  TensorHeader header;
  std::string data;
};

// The bytes of `value` as an element of this type (rounded towards zero; f16 within its normal range, below it 0).
inline std::string element(DType dtype, float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const auto low = [](std::uint64_t word, std::size_t bytes) {
    std::string text;
    for (std::size_t i = 0; i < bytes; ++i) text += static_cast<char>(word >> (8 * i) & 0xff);
    return text;
  };
  if (dtype == DType::f32) return low(bits, 4);
  if (dtype == DType::bf16) return low(bits >> 16, 2);
  if (dtype == DType::f16) {
    const std::uint32_t exponent = bits >> 23 & 0xff;
    const std::uint32_t sign = bits >> 16 & 0x8000;
    return low(exponent < 113 ? sign : sign | (exponent - 112) << 10 | (bits >> 13 & 0x3ff), 2);
  }
  return std::string(dtype_size(dtype), '\0');
}

inline TestTensor filled(std::string name, DType dtype, std::vector<std::int64_t> shape, float value = 1) {
  TestTensor tensor{{std::move(name), dtype, std::move(shape)}, {}};
  const std::string one = element(dtype, value);
  while (tensor.data.size() < tensor.header.size()) tensor.data += one;
  return tensor;
}

inline std::string safetensors_file(const std::vector<TestTensor>& tensors,
                                    const std::map<std::string, std::string>& metadata = {{"format", "pt"}}) {
  std::vector<TensorHeader> headers;
  for (const TestTensor& tensor : tensors) headers.push_back(tensor.header);
  std::string file = safetensors_header(headers, metadata);
  for (const TestTensor& tensor : tensors) file += tensor.data;
  return file;
}

}  // namespace streamline::test
