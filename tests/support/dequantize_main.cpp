// SPDX-License-Identifier: Apache-2.0
// Blocks of a GGUF type as float32, for comparison with other implementations:
//   streamline_dequantize TYPE < blocks > floats
//   streamline_dequantize --quantize TYPE < floats > blocks
// TYPE is a name like Q4_K.
#include <cstdio>
#include <cstring>
#include <exception>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "streamline/base/error.h"
#include "streamline/io/dequantize.h"
#include "streamline/io/quantize.h"

namespace {

using namespace streamline;

DType find_type(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(DType::q1_0); ++i)
    if (dtype_name(static_cast<DType>(i)) == name) return static_cast<DType>(i);
  fail(ErrorKind::usage, "no type is called ", name);
}

bool write(const void* bytes, std::size_t count) { return std::fwrite(bytes, 1, count, stdout) == count; }

bool write_blocks(DType type, const std::string& floats) {
  std::vector<float> numbers(floats.size() / sizeof(float));
  std::memcpy(numbers.data(), floats.data(), numbers.size() * sizeof(float));
  std::vector<std::byte> blocks(numbers.size() / dtype_block(type).elements * dtype_block(type).bytes);
  quantize(type, numbers, blocks);
  return write(blocks.data(), blocks.size());
}

}  // namespace

int main(int count, char** arguments) {
  const bool inverse = count == 3 && std::string(arguments[1]) == "--quantize";
  if (count != 2 && !inverse) {
    std::cerr << "usage: streamline_dequantize [--quantize] TYPE < in > out\n";
    return 2;
  }
  try {
    const DType type = find_type(arguments[count - 1]);
    const std::string bytes(std::istreambuf_iterator<char>(std::cin), {});
    if (inverse) return write_blocks(type, bytes) ? 0 : 1;
    std::vector<float> numbers(bytes.size() / dtype_block(type).bytes * dtype_block(type).elements);
    dequantize(type, std::as_bytes(std::span(bytes)), numbers);
    return write(numbers.data(), numbers.size() * sizeof(float)) ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
  }
}
