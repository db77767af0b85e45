// SPDX-License-Identifier: Apache-2.0
// Any bytes as a safetensors file: either tensors that lie inside it and tile its data, or one Error.
#include <cstdlib>
#include <string>

#include "streamline/base/error.h"
#include "streamline/io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  try {
    std::uint64_t total = 0;
    for (const streamline::TensorInfo& tensor : streamline::parse_safetensors(file, "fuzz")) {
      const std::uint64_t elements = static_cast<std::uint64_t>(tensor.elements());
      if (elements * streamline::dtype_size(tensor.dtype) != tensor.size) std::abort();
      if (tensor.offset > size || tensor.size > size - tensor.offset) std::abort();
      total += tensor.size;
    }
    if (total > size) std::abort();
    streamline::safetensors_metadata(file, "fuzz");
  } catch (const streamline::Error& error) {
    if (error.kind() == streamline::ErrorKind::internal) std::abort();
  }
  return 0;
}
