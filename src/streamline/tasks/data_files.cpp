// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/data_files.h"

#include <algorithm>

#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/text/text_lines.h"

namespace streamline {
namespace {

namespace fs = std::filesystem;

bool matches(std::string_view name, std::string_view before, std::string_view after) {
  return name.size() >= before.size() + after.size() && name.starts_with(before) && name.ends_with(after);
}

std::vector<fs::path> listed(const fs::path& folder, std::string_view before, std::string_view after) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (matches(without_compression(entry.path()).filename().string(), before, after) && entry.is_regular_file(error))
      files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<fs::path> all_of(const fs::path& folder, const std::vector<std::string>& patterns) {
  std::vector<fs::path> files;
  for (const std::string& pattern : patterns) {
    const std::vector<fs::path> found = matching_files(folder, pattern);
    if (found.empty()) return {};
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

std::vector<fs::path> first_of(const fs::path& folder, const std::vector<std::string>& patterns) {
  for (const std::string& pattern : patterns)
    if (auto found = matching_files(folder, pattern); !found.empty()) return found;
  return {};
}

}  // namespace

std::vector<fs::path> matching_files(const fs::path& folder, const std::string& pattern) {
  const fs::path path = folder / pattern;
  const std::string name = path.filename().string();
  if (const std::size_t star = name.find('*'); star != name.npos)
    return listed(path.parent_path(), std::string_view(name).substr(0, star), std::string_view(name).substr(star + 1));
  for (const char* end : {"", ".gz", ".zst"}) {
    fs::path candidate = path;
    candidate += end;
    std::error_code error;
    if (fs::is_regular_file(candidate, error)) return {candidate};
  }
  return {};
}

FoundSource find_source(const Task& task, const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) fail(ErrorKind::io, folder.string(), ": no such directory of data");
  std::string sought;
  for (const Source& source : task.sources) {
    auto files = source.together ? all_of(folder, source.files) : first_of(folder, source.files);
    if (!files.empty()) return {&source, std::move(files)};
    sought += sought.empty() ? "" : ", ";
    for (std::size_t i = 0; i < source.files.size(); ++i)
      sought += (i == 0 ? "" : source.together ? " with " : ", ") + source.files[i];
  }
  fail(ErrorKind::io, folder.string(), ": no data for the task ", task.name, "; looked for ", sought);
}

std::string digest_of(const std::vector<fs::path>& files) {
  Sha256 digest;
  for (const fs::path& file : files) digest.update(map_file(file).bytes);
  return digest.hex();
}

}  // namespace streamline
