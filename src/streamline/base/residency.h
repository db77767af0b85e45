// SPDX-License-Identifier: Apache-2.0
// Which parts of a mapped file lie in memory, and hints on which should.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace streamline {

// All of these are for bytes of a mapped file (Blob::mapped) and round to whole pages. Hints only: nothing fails.

// Begins to read them from the disk, if they are not in memory; returns at once.
void will_need(std::span<const std::byte> mapped);
// Takes them out of the process; what is touched again comes back from the system's cache, or the disk.
void done_with(std::span<const std::byte> mapped);
// How many of them need no disk.
std::uint64_t resident_bytes(std::span<const std::byte> mapped);

}  // namespace streamline
