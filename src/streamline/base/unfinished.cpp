// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/unfinished.h"

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <optional>
#include <string>

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

}  // namespace

fs::path temporary_name(const fs::path& target) {
  return target.parent_path() / ("." + target.filename().string() + std::string(kMark) + std::to_string(::getpid()));
}

void remove_unfinished(const fs::path& directory) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory, ignored)) {
    const auto temporary = parse_temporary(entry.path());
    if (temporary && is_no_more(temporary->process)) fs::remove(entry.path(), ignored);
  }
}

void remove_unfinished_of(const fs::path& target) {
  const fs::path mine = temporary_name(target);
  std::error_code error;
  fs::remove_all(mine, error);
  for (const auto& entry : fs::directory_iterator(target.has_parent_path() ? target.parent_path() : ".", error)) {
    const auto temporary = parse_temporary(entry.path());
    if (!temporary || temporary->target != target.filename() || !is_no_more(temporary->process)) continue;
    // Its writer may live on another machine that sees this directory: without the name it fails, and does not commit
    // what has lost files.
    fs::rename(entry.path(), mine, error);
    if (!error) fs::remove_all(mine, error);
  }
}

}  // namespace streamline
