// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/unfinished.h"

#include <cerrno>
#include <charconv>
#include <csignal>
#include <string>

namespace streamline {

void remove_unfinished(const std::filesystem::path& directory) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
    const std::string name = entry.path().filename().string();
    constexpr std::string_view kMark = ".part-";
    const std::size_t mark = name.rfind(kMark);
    if (!name.starts_with('.') || mark == std::string::npos) continue;
    const char *begin = name.data() + mark + kMark.size(), *end = name.data() + name.size();
    int process = 0;
    if (std::from_chars(begin, end, process).ptr != end || process <= 0) continue;
    if (::kill(process, 0) != 0 && errno == ESRCH) std::filesystem::remove(entry.path(), ignored);
  }
}

}  // namespace streamline
