// SPDX-License-Identifier: Apache-2.0
// Any bytes as the masks of a plan: either bits that lie inside the file, as many as the shapes say, or one Error.
#include <cstdlib>
#include <string>

#include "streamline/base/error.h"
#include "streamline/plan/masks_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace streamline;
  try {
    const MasksFile file(memory_blob({reinterpret_cast<const char*>(data), size}), "fuzz");
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < file.masks().size(); ++i) {
      if (file.bits(i).size() != bytes_of_mask(file.masks()[i], "fuzz")) std::abort();
      total += file.bits(i).size();
    }
    if (total > size) std::abort();
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::internal) std::abort();
  }
  return 0;
}
