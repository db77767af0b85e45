// SPDX-License-Identifier: Apache-2.0
// Where temporary files go while a test looks.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

namespace streamline::test {

// While it lives, TMPDIR is that directory.
class ScratchGoesTo {
 public:
  explicit ScratchGoesTo(const std::filesystem::path& directory) {
    if (const char* given = std::getenv("TMPDIR")) before_ = given;
    ::setenv("TMPDIR", directory.c_str(), 1);
  }
  ~ScratchGoesTo() {
    if (before_)
      ::setenv("TMPDIR", before_->c_str(), 1);
    else
      ::unsetenv("TMPDIR");
  }
  ScratchGoesTo(const ScratchGoesTo&) = delete;
  ScratchGoesTo& operator=(const ScratchGoesTo&) = delete;

 private:
  std::optional<std::string> before_;
};

}  // namespace streamline::test
