// SPDX-License-Identifier: Apache-2.0
// The system knows which file lies behind an address (/proc/self/maps), so that nobody need carry descriptors along.
#include "streamline/base/copy_mapped.h"

#include <algorithm>
#include <cstdint>

#ifdef __linux__
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <string>
#endif

namespace streamline {

#ifdef __linux__
namespace {

constexpr std::size_t kCopySize = 64 << 20;  // bytes a call, so that the disk begins early

struct Mapping {
  std::uint64_t first = 0, last = 0, offset = 0, inode = 0;
  unsigned major = 0, minor = 0;
  std::string path;
};

// "7f00-7f10 r--p 00001000 fe:00 1234   /a/path"; false for other permissions, and for what is no file.
bool parse_mapping(const std::string& line, Mapping& mapping) {
  char permissions[5] = {};
  int path = 0;
  const int found =
      std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n", &mapping.first,
                  &mapping.last, permissions, &mapping.offset, &mapping.major, &mapping.minor, &mapping.inode, &path);
  if (found != 7 || path == 0 || mapping.inode == 0 || std::string_view(permissions) != "r--p") return false;
  mapping.path = line.substr(static_cast<std::size_t>(path));
  return mapping.path.starts_with('/');
}

bool find_mapping(std::uint64_t first, std::uint64_t size, Mapping& mapping) {
  std::ifstream lines("/proc/self/maps");
  for (std::string line; std::getline(lines, line);)
    if (parse_mapping(line, mapping) && mapping.first <= first && first < mapping.last)
      return size <= mapping.last - first;
  return false;
}

// The file that is mapped, unless another one has its name by now; < 0: none.
int open_mapped(const Mapping& mapping) {
  const int file = ::open(mapping.path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return file;
  struct stat status {};
  const bool same = ::fstat(file, &status) == 0 && status.st_ino == mapping.inode &&
                    major(status.st_dev) == mapping.major && minor(status.st_dev) == mapping.minor;
  if (same) return file;
  ::close(file);
  return -1;
}

}  // namespace

std::size_t copy_mapped(std::span<const std::byte> bytes, int descriptor) {
  const auto address = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(bytes.data()));
  Mapping mapping;
  if (!find_mapping(address, bytes.size(), mapping)) return 0;
  const int source = open_mapped(mapping);
  if (source < 0) return 0;
  auto from = static_cast<off_t>(mapping.offset + (address - mapping.first));
  std::size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t copied =
        ::copy_file_range(source, &from, descriptor, nullptr, std::min(bytes.size() - written, kCopySize), 0);
    if (copied < 0 && errno == EINTR) continue;
    if (copied <= 0) break;
    const off_t end = ::lseek(descriptor, 0, SEEK_CUR);
    ::sync_file_range(descriptor, end - copied, copied, SYNC_FILE_RANGE_WRITE);
    written += static_cast<std::size_t>(copied);
  }
  ::close(source);
  return written;
}
#else
std::size_t copy_mapped(std::span<const std::byte>, int) { return 0; }
#endif

}  // namespace streamline
