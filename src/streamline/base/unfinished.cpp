// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/unfinished.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <optional>
#include <string>

#include "streamline/base/error.h"

namespace streamline {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kMark = ".part-";

// Of ".NAME.part-123".
struct TemporaryName {
  std::string target;
  int process = 0;
};
std::optional<TemporaryName> parse_temporary(const fs::path& path) {
  const std::string name = path.filename().string();
  const std::size_t mark = name.rfind(kMark);
  if (!name.starts_with('.') || mark == std::string::npos || mark == 0) return std::nullopt;
  const char *begin = name.data() + mark + kMark.size(), *end = name.data() + name.size();
  TemporaryName temporary{.target = name.substr(1, mark - 1)};
  if (std::from_chars(begin, end, temporary.process).ptr != end || temporary.process <= 0) return std::nullopt;
  return temporary;
}

bool is_no_more(int process) { return ::kill(process, 0) != 0 && errno == ESRCH; }

// What to rename it to before it is removed: a writer that goes on without a lock then does not commit what has lost
// files.
void remove_if_unlocked(const fs::path& path, const fs::path& renamed) {
  const int descriptor = lock_path(path);
  if (descriptor < 0) return;
  std::error_code error;
  if (path != renamed) fs::rename(path, renamed, error);
  if (!error) fs::remove_all(renamed, error);
  ::close(descriptor);
}

}  // namespace

fs::path whole_path(const fs::path& path) {
  const fs::path whole = fs::absolute(path).lexically_normal();
  return whole.has_filename() ? whole : whole.parent_path();
}

fs::path temporary_name(const fs::path& target) {
  return target.parent_path() / ("." + target.filename().string() + std::string(kMark) + std::to_string(::getpid()));
}

int lock_path(const fs::path& path) {
  // To write where that can be: network file systems lock nothing else.
  int descriptor = ::open(path.c_str(), O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
  if (descriptor < 0 && errno == EISDIR) descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0 && ::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return descriptor;
  if (descriptor >= 0) ::close(descriptor);
  return -1;
}

void remove_unfinished(const fs::path& directory) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory, ignored)) {
    const auto temporary = parse_temporary(entry.path());
    if (temporary && is_no_more(temporary->process) && !entry.is_directory(ignored))
      remove_if_unlocked(entry.path(), entry.path());
  }
}

void remove_unfinished_of(const fs::path& target) {
  const fs::path mine = temporary_name(target);
  remove_if_unlocked(mine, mine);
  std::error_code error;
  if (fs::exists(mine, error)) return;  // another container's, of the same number
  for (const auto& entry : fs::directory_iterator(target.has_parent_path() ? target.parent_path() : ".", error)) {
    const auto temporary = parse_temporary(entry.path());
    if (temporary && temporary->target == target.filename() && is_no_more(temporary->process))
      remove_if_unlocked(entry.path(), mine);
  }
}

UnfinishedDirectory::UnfinishedDirectory(const fs::path& target) {
  std::error_code error;
  fs::create_directories(target.parent_path(), error);
  if (error) fail(ErrorKind::io, target.parent_path().string(), ": cannot create this directory: ", error.message());
  remove_unfinished_of(target);
  const fs::path path = temporary_name(target);
  const bool created = fs::create_directory(path, error);
  if (error) fail(ErrorKind::io, target.string(), ": cannot create this directory: ", error.message());
  if (!created)
    fail(ErrorKind::io, target.string(), ": another process writes this in ", path.string(),
         "; choose another name, or remove that directory if none does");
  path_ = path;
  descriptor_ = lock_path(path_);
}

UnfinishedDirectory::~UnfinishedDirectory() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace streamline
