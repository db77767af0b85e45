// SPDX-License-Identifier: Apache-2.0
// Writes GGUF files, version 3: the header, then each tensor's bytes at the next multiple of the alignment.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "streamline/base/file.h"
#include "streamline/io/gguf_fields.h"

namespace streamline {

// Takes the bytes of a tensor piece by piece.
using ByteSink = std::function<void(std::span<const std::byte>)>;

// A tensor to write: what it is, and its bytes on demand.
struct GgufTensor {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;  // the longest stride first, as elsewhere here; rows of whole blocks
  std::function<void(const ByteSink&)> write;

  std::uint64_t size() const;  // bytes
};

// Everything in front of the tensors, padded to the alignment ("general.alignment" of the fields, else 32).
std::string gguf_header(const GgufFields& fields, const std::vector<GgufTensor>& tensors);

// Header and tensors, in the given order; neither flushed nor committed. Shows progress. Errors: io, and whatever
// `write` throws.
void write_gguf(OutputFile& file, const GgufFields& fields, const std::vector<GgufTensor>& tensors);

}  // namespace streamline
