// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/unfinished.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "streamline/base/file.h"
#include "tests/support/core/expect.h"
#include "tests/support/core/temporary_directory.h"

namespace streamline {
namespace {

// The number of a process that has ended.
pid_t ended_process() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
  return child;
}

TEST(Unfinished, FilesOfProcessesThatAreNoMoreAreRemovedAndNothingElse) {
  const test::TemporaryDirectory directory;
  const pid_t child = ended_process();
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

TEST(Unfinished, AResultOfAProcessThatIsNoMoreGoesWhenItsTargetIsWrittenAnew) {
  const test::TemporaryDirectory directory;
  const std::string ended = std::to_string(ended_process());
  const auto gone = directory.path() / (".out.part-" + ended);
  const auto others = {directory.path() / (".out2.part-" + ended),
                       directory.path() / (".out.part-" + std::to_string(::getppid())),
                       directory.path() / (".out.old-" + ended), directory.path() / "out.part-1"};
  for (const auto& path : others) write_text(path / "model.safetensors", "whole");
  write_text(gone / "streamline" / "model.safetensors", "half");
  OutputDirectory out(directory.path() / "out", Overwrite::no);
  EXPECT_FALSE(std::filesystem::exists(gone));
  for (const auto& path : others) EXPECT_TRUE(std::filesystem::exists(path / "model.safetensors")) << path;
  out.write("model.safetensors", "whole");
  out.commit();
  EXPECT_EQ(read_text(directory.path() / "out" / "model.safetensors"), "whole");
}

TEST(Unfinished, WhatAnotherDescriptorHasLockedStays) {
  const test::TemporaryDirectory directory;
  const std::string ended = std::to_string(ended_process());
  const auto folder = directory.path() / (".out.part-" + ended), file = directory.path() / (".a.part-" + ended);
  write_text(folder / "model.safetensors", "half");
  write_text(file, "half");
  const int folder_lock = lock_path(folder), file_lock = lock_path(file);
  ASSERT_GE(folder_lock, 0);
  ASSERT_GE(file_lock, 0);
  remove_unfinished(directory.path());
  remove_unfinished_of(directory.path() / "out");
  EXPECT_TRUE(std::filesystem::exists(folder / "model.safetensors"));
  EXPECT_TRUE(std::filesystem::exists(file));
  ::close(folder_lock);
  ::close(file_lock);
  remove_unfinished(directory.path());
  remove_unfinished_of(directory.path() / "out");
  EXPECT_FALSE(std::filesystem::exists(folder));
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST(Unfinished, AWriterKeepsItsDirectoryAndItsFileFromOthersOfItsNumber) {
  const test::TemporaryDirectory directory;
  const auto target = directory.path() / "out", file = temporary_name(directory.path() / "a");
  {
    OutputDirectory first(target, Overwrite::no);
    first.write("a", "1");
    EXPECT_ERROR(OutputDirectory(target, Overwrite::no), io, "another process writes this");
    EXPECT_EQ(read_text(first.staging() / "a"), "1");
    const OutputFile written(directory.path() / "a");
    EXPECT_LT(lock_path(file), 0);
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(Unfinished, ADirectoryIsThereWhileItsOwnerIs) {
  const test::TemporaryDirectory directory;
  write_text(directory.path() / "out.matrices" / "mine", "important");
  {
    const UnfinishedDirectory scratch(whole_path(directory.path() / "out/").concat(".matrices"));
    EXPECT_EQ(scratch.path().parent_path(), directory.path());
    write_text(scratch.path() / "a", "1");
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
  EXPECT_EQ(read_text(directory.path() / "out.matrices" / "mine"), "important");
}

}  // namespace
}  // namespace streamline
