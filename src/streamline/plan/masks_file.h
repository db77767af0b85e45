// SPDX-License-Identifier: Apache-2.0
// Which single weights of a model stay, a bit each, in a safetensors file beside the plan that names it
// (docs/formats.md): a sixteenth of what the matrices take in half precision.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "streamline/base/file.h"

namespace streamline {

// What one mask is of.
struct Mask {
  std::string tensor = {};               // its name in the source's checkpoint
  std::int64_t layer = 0;                // of the source
  std::vector<std::int64_t> shape = {};  // as it lies in the checkpoint

  bool operator==(const Mask&) const = default;
};

// The bytes that its bits take: an element each in the order in which they lie, the first in the lowest bit, 1 for what
// stays; the last byte is filled up. Errors: format, naming `where`, for a shape that no tensor has.
std::uint64_t bytes_of_mask(const Mask& mask, const std::string& where);

class MasksFile {
 public:
  // Errors: format, naming the file and the tensor.
  MasksFile(const Blob& file, std::string name);
  // The file that a plan names. Errors: io; mismatch for another digest; format.
  static MasksFile open(const std::filesystem::path& path, const std::string& sha256);

  const std::string& name() const { return name_; }  // for messages
  const std::string& sha256() const { return sha256_; }
  std::span<const std::byte> bytes() const { return file_.bytes; }  // of the whole file
  const std::vector<Mask>& masks() const { return masks_; }
  // bytes_of_mask() bytes of masks()[index], mapped.
  std::span<const std::byte> bits(std::size_t index) const { return bits_[index]; }

 private:
  MasksFile(Blob file, std::string name, std::string digest);

  Blob file_;
  std::string name_, sha256_;
  std::vector<Mask> masks_;
  std::vector<std::span<const std::byte>> bits_;
};

// A mask to be written, and its bytes on demand.
struct MaskSource {
  Mask mask = {};
  std::function<Blob()> bits = {};
};
// One mask after the other, each asked for once. Returns the SHA-256 of the file, which gets its name when it is whole.
// Errors: io.
std::string write_masks(const std::filesystem::path& path, const std::vector<MaskSource>& masks);

// "cut.masks.safetensors" beside "cut.json" and beside "cut".
std::filesystem::path masks_beside(const std::filesystem::path& plan);

}  // namespace streamline
