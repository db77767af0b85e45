// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/scratch_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "streamline/base/error.h"
#include "streamline/base/resources.h"

namespace streamline {
namespace {

// Without a name from the beginning where the file system can do that, else for as long as it takes to remove it.
int open_nameless(const std::filesystem::path& directory) {
#ifdef O_TMPFILE
  const int file = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file >= 0) return file;
#endif
  std::string name = (directory / "streamline-XXXXXX").string();
  const int named = ::mkstemp(name.data());
  if (named >= 0) ::unlink(name.c_str());
  return named;
}

}  // namespace

std::filesystem::path scratch_directory() {
  const char* given = std::getenv("TMPDIR");
  if (given != nullptr && *given != '\0') return given;
  std::error_code error;
  return std::filesystem::is_directory("/var/tmp", error) ? "/var/tmp" : "/tmp";
}

std::uint64_t scratch_space() {
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(scratch_directory(), error);
  return error ? 0 : space.available;
}

ScratchFile::ScratchFile(std::uint64_t bytes) {
  if (bytes == 0) return;
  const std::string where = scratch_directory().string();
  const int file = open_nameless(where);
  if (file < 0) fail(ErrorKind::io, where, ": cannot make a temporary file here: ", std::strerror(errno));
  // Claimed now: a page that finds no room later would end the process.
  const int claimed = ::posix_fallocate(file, 0, static_cast<off_t>(bytes));
  void* mapped = claimed == 0 ? ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
  const int reason = claimed != 0 ? claimed : errno;
  ::close(file);
  if (mapped == MAP_FAILED)
    fail(ErrorKind::resource, where, ": a temporary file of ", format_bytes(bytes),
         " is needed here: ", std::strerror(reason), "; free some space, or set TMPDIR to another directory");
  bytes_ = {static_cast<std::byte*>(mapped), bytes};
}

ScratchFile::~ScratchFile() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

}  // namespace streamline
