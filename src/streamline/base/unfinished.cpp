// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/unfinished.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <optional>
#include <random>
#include <string>

#include "streamline/base/error.h"

namespace streamline {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kMark = ".part-";
constexpr int kAttempts = 8;  // to make what lies in a directory that others remove while it is empty

fs::path hidden_name(const fs::path& target, std::string_view mark) {
  char random[8];
  char* const end = std::to_chars(random, random + sizeof random, std::random_device{}(), 16).ptr;
  return target.parent_path() / ("." + target.filename().string() + std::string(mark) + std::to_string(::getpid()) +
                                 "-" + std::string(random, end));
}

// Of ".NAME.part-123-9f86d081", and of ".NAME.part-123" as earlier versions named them.
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
  const char* rest = std::from_chars(begin, end, temporary.process).ptr;
  unsigned random = 0;
  if (rest != end && *rest == '-') rest = std::from_chars(rest + 1, end, random, 16).ptr;
  if (rest != end || temporary.process <= 0) return std::nullopt;
  return temporary;
}

// Whether only its lock can tell that it is still written: no process here has the number, or this one has it, and so
// may one of another container.
bool may_be_left(const TemporaryName& temporary) {
  return temporary.process == ::getpid() || (::kill(temporary.process, 0) != 0 && errno == ESRCH);
}

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

fs::path temporary_name(const fs::path& target) { return hidden_name(target, kMark); }

fs::path replaced_name(const fs::path& target) { return hidden_name(target, ".old-"); }

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
    if (temporary && may_be_left(*temporary) && !entry.is_directory(ignored))
      remove_if_unlocked(entry.path(), entry.path());
  }
}

void remove_unfinished_of(const fs::path& target) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(target.has_parent_path() ? target.parent_path() : ".", error)) {
    const auto temporary = parse_temporary(entry.path());
    if (temporary && temporary->target == target.filename() && may_be_left(*temporary))
      remove_if_unlocked(entry.path(), temporary_name(target));
  }
}

ParentDirectories::~ParentDirectories() {
  for (auto made = made_.rbegin(); made != made_.rend(); ++made) ::rmdir(made->c_str());  // of an empty directory only
}

std::error_code ParentDirectories::make_below(const fs::path& path, const std::function<std::error_code()>& make) {
  const auto make_above = [&] {
    std::vector<fs::path> missing;
    std::error_code error;
    for (fs::path above = path.parent_path(); !above.empty() && !fs::exists(above, error); above = above.parent_path())
      missing.push_back(above);
    error.clear();
    for (; !missing.empty() && !error; missing.pop_back())
      if (fs::create_directory(missing.back(), error)) made_.push_back(missing.back());
    return error;
  };
  std::error_code error;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    error = make_above();
    if (error && error != std::errc::no_such_file_or_directory)
      fail(ErrorKind::io, path.parent_path().string(), ": cannot create this directory: ", error.message());
    if (!error) error = make();
    if (error != std::errc::no_such_file_or_directory) break;
  }
  return error;
}

UnfinishedDirectory::UnfinishedDirectory(const fs::path& target) {
  remove_unfinished_of(target);
  const fs::path path = temporary_name(target);
  const std::error_code error = parents_.make_below(target, [&] {
    std::error_code failed;
    if (!fs::create_directory(path, failed) && !failed) failed = std::make_error_code(std::errc::file_exists);
    return failed;
  });
  if (error) fail(ErrorKind::io, target.string(), ": cannot create this directory: ", error.message());
  path_ = path;
  descriptor_ = lock_path(path_);
}

UnfinishedDirectory::~UnfinishedDirectory() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace streamline
