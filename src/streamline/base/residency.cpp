// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/residency.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace streamline {
namespace {

struct Pages {
  std::byte* first = nullptr;
  std::size_t size = 0;  // bytes, whole pages
};

std::size_t page_size() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

Pages pages_of(std::span<const std::byte> bytes) {
  if (bytes.empty()) return {};
  const std::size_t page = page_size(), before = reinterpret_cast<std::uintptr_t>(bytes.data()) % page;
  auto* first = const_cast<std::byte*>(bytes.data()) - before;  // madvise takes no pointer to const
  return {first, (bytes.size() + before + page - 1) / page * page};
}

void advise(std::span<const std::byte> bytes, int advice) {
  const Pages pages = pages_of(bytes);
  if (pages.size > 0) ::madvise(pages.first, pages.size, advice);
}

}  // namespace

void will_need(std::span<const std::byte> mapped) { advise(mapped, MADV_WILLNEED); }

void done_with(std::span<const std::byte> mapped) { advise(mapped, MADV_DONTNEED); }

std::uint64_t resident_bytes(std::span<const std::byte> mapped) {
  const Pages pages = pages_of(mapped);
  const std::size_t page = page_size();
  std::vector<unsigned char> found(pages.size / page);
  if (found.empty() || ::mincore(pages.first, pages.size, found.data()) != 0) return 0;
  const auto count = static_cast<std::size_t>(
      std::count_if(found.begin(), found.end(), [](unsigned char state) { return (state & 1U) != 0; }));
  return std::min<std::uint64_t>(mapped.size(), count * page);
}

}  // namespace streamline
