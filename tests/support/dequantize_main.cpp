// SPDX-License-Identifier: Apache-2.0
// Blocks of a GGUF type as float32, for comparison with other implementations:
//   streamline_dequantize TYPE < blocks > floats
// TYPE is a name like Q4_K.
#include <cstdio>
#include <exception>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "streamline/base/error.h"
#include "streamline/io/dequantize.h"

namespace {

using namespace streamline;

DType find_type(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(DType::q1_0); ++i)
    if (dtype_name(static_cast<DType>(i)) == name) return static_cast<DType>(i);
  fail(ErrorKind::usage, "no type is called ", name);
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "usage: streamline_dequantize TYPE < blocks > floats\n";
    return 2;
  }
  try {
    const DType type = find_type(arguments[1]);
    const std::string bytes(std::istreambuf_iterator<char>(std::cin), {});
    std::vector<float> numbers(bytes.size() / dtype_block(type).bytes * dtype_block(type).elements);
    dequantize(type, std::as_bytes(std::span(bytes)), numbers);
    return std::fwrite(numbers.data(), sizeof(float), numbers.size(), stdout) == numbers.size() ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
  }
}
