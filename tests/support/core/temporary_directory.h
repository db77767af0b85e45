// SPDX-License-Identifier: Apache-2.0
// A directory that is gone when the test ends.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include "streamline/base/error.h"

namespace streamline::test {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "streamline-test-XXXXXX").string();
    SL_ASSERT(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace streamline::test
