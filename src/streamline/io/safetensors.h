// SPDX-License-Identifier: Apache-2.0
// The safetensors container: an 8-byte little-endian header length, a JSON header, then the tensors' bytes.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "streamline/io/checkpoint.h"

namespace streamline {

// Validates a whole file's header against its size: length, JSON, dtypes, shape overflow, offsets, overlaps, holes.
// `name` is put into TensorInfo::file and into messages. Errors: format.
std::vector<TensorInfo> parse_safetensors(std::span<const std::byte> file, const std::string& name);
// The header's "__metadata__" (empty when absent).
std::map<std::string, std::string> safetensors_metadata(std::span<const std::byte> file, const std::string& name);

// The header for tensors laid out back to back in the given order (offsets are assigned here).
struct TensorHeader {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;

  std::uint64_t size() const;  // bytes
};
std::string safetensors_header(const std::vector<TensorHeader>& tensors,
                               const std::map<std::string, std::string>& metadata);

}  // namespace streamline
