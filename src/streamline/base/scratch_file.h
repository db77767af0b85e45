// SPDX-License-Identifier: Apache-2.0
// Memory that may go to the disk: a mapped temporary file without a name, which is gone with the process, however that
// ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace streamline {

// Where temporary files go that may be too large for memory: $TMPDIR, or /var/tmp, which unlike /tmp is a disk
// everywhere.
std::filesystem::path scratch_directory();
// Bytes that are free there; 0 where it cannot be told.
std::uint64_t scratch_space();

class ScratchFile {
 public:
  // In scratch_directory(). Errors: resource when the disk has no room for so many bytes; io.
  explicit ScratchFile(std::uint64_t bytes);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  std::span<std::byte> bytes() const { return bytes_; }  // zeros at first; see residency.h for hints on parts of them

 private:
  std::span<std::byte> bytes_;
};

}  // namespace streamline
