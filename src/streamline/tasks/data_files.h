// SPDX-License-Identifier: Apache-2.0
// Which files of a folder a task reads.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "streamline/tasks/task_spec.h"

namespace streamline {

// The files that a pattern stands for below `folder`, in name order: a relative path whose last part may have one '*'.
// A file may also be there as NAME.gz or NAME.zst. Empty when there is none.
std::vector<std::filesystem::path> matching_files(const std::filesystem::path& folder, const std::string& pattern);

struct FoundSource {
  const Source* source = nullptr;
  std::vector<std::filesystem::path> files;
};

// The first source of which all that it needs is in the folder. Errors: io, naming what was looked for.
FoundSource find_source(const Task& task, const std::filesystem::path& folder);

// SHA-256 of the files' bytes, one after the other.
std::string digest_of(const std::vector<std::filesystem::path>& files);

}  // namespace streamline
