// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/unfinished.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "streamline/base/file.h"
#include "tests/support/core/temporary_directory.h"

namespace streamline {
namespace {

TEST(Unfinished, FilesOfProcessesThatAreNoMoreAreRemovedAndNothingElse) {
  const test::TemporaryDirectory directory;
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  const auto gone = directory.path() / (".weights.safetensors.part-" + std::to_string(child));
  const auto others = {directory.path() / (".bias.safetensors.part-" + std::to_string(::getpid())),
                       directory.path() / ("weights.part-" + std::to_string(child)), directory.path() / ".part-x",
                       directory.path() / "weights.safetensors"};
  write_text(gone, "half");
  for (const auto& path : others) write_text(path, "whole");
  remove_unfinished(directory.path());
  EXPECT_FALSE(std::filesystem::exists(gone));
  for (const auto& path : others) EXPECT_TRUE(std::filesystem::exists(path)) << path;
}

}  // namespace
}  // namespace streamline
