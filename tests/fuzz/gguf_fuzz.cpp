// SPDX-License-Identifier: Apache-2.0
// Any bytes as a GGUF file: either tensors that lie inside it without overlap and values that can be read, or one
// Error.
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>

#include "streamline/arch/config.h"
#include "streamline/arch/open_checkpoint.h"
#include "streamline/base/error.h"
#include "streamline/io/gguf.h"
#include "streamline/text/tokenizer.h"

namespace {

using streamline::Gguf;
using streamline::GgufEntry;

void check_tensors(const Gguf& gguf, std::size_t size) {
  std::uint64_t total = 0;
  for (const streamline::TensorInfo& tensor : gguf.tensors) {
    const streamline::DTypeBlock block = streamline::dtype_block(tensor.dtype);
    const auto elements = static_cast<std::uint64_t>(tensor.elements());
    if (elements / block.elements * block.bytes != tensor.size) std::abort();
    if (tensor.offset > size || tensor.size > size - tensor.offset) std::abort();
    total += tensor.size;
  }
  if (total > size) std::abort();
}

void read_value(const Gguf& gguf, const GgufEntry& entry) {
  try {
    if (entry.element == streamline::GgufType::string) {
      if (gguf.strings(entry.key)->size() != entry.count) std::abort();
    } else if (entry.element != streamline::GgufType::array) {
      if (gguf.numbers(entry.key)->size() != entry.count) std::abort();
      gguf.integers(entry.key);
    }
  } catch (const streamline::Error& error) {
    if (error.kind() != streamline::ErrorKind::format) std::abort();
  }
}

void expect_result_or_error(const std::function<void()>& work) {
  try {
    work();
  } catch (const streamline::Error& error) {
    if (error.kind() == streamline::ErrorKind::internal) std::abort();
  }
}

void read_file(const std::uint8_t* data, std::size_t size) {
  const Gguf gguf = streamline::parse_gguf({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
  check_tensors(gguf, size);
  for (std::size_t i = 0; i < std::min<std::size_t>(gguf.metadata.size(), 100); ++i) read_value(gguf, gguf.metadata[i]);
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const auto files = streamline::memory_files("fuzz", {{"m.gguf", bytes}});
  expect_result_or_error([&] { streamline::resolve_config(*streamline::open_gguf_checkpoint(files, "m.gguf")); });
  const auto tokenizer = streamline::open_tokenizer(*files);
  tokenizer->decode(tokenizer->encode("a<s>b \u00e9 12", true), false);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  expect_result_or_error([&] { read_file(data, size); });
  return 0;
}
