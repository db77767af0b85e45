// SPDX-License-Identifier: Apache-2.0
// Bytes of a mapped file, written to another file by the kernel: without a page fault for each page of them.
#pragma once

#include <cstddef>
#include <span>

namespace streamline {

// Appends `bytes` to the file behind `descriptor`, at its position, as far as they can be copied from file to file:
// they lie in a read-only mapping of a file that still has its name. Returns how many were written, from the beginning:
// 0 where that cannot be done; the caller writes the rest (and learns of errors).
std::size_t copy_mapped(std::span<const std::byte> bytes, int descriptor);

}  // namespace streamline
