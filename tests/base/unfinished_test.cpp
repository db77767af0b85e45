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
  const auto gone = {directory.path() / (".weights.safetensors.part-" + std::to_string(child)),
                     directory.path() / (".weights.safetensors.part-" + std::to_string(child) + "-9f86d081"),
                     temporary_name(directory.path() / "bias.safetensors")};
  const auto others = {directory.path() / (".bias.safetensors.part-" + std::to_string(::getppid()) + "-9f86d081"),
                       directory.path() / (".bias.safetensors.part-" + std::to_string(child) + "-thesis"),
                       directory.path() / ("weights.part-" + std::to_string(child)), directory.path() / ".part-x",
                       directory.path() / "weights.safetensors"};
  for (const auto& path : gone) write_text(path, "half");
  for (const auto& path : others) write_text(path, "whole");
  remove_unfinished(directory.path());
  for (const auto& path : gone) EXPECT_FALSE(std::filesystem::exists(path)) << path;
  for (const auto& path : others) EXPECT_TRUE(std::filesystem::exists(path)) << path;
}

TEST(Unfinished, AResultOfAProcessThatIsNoMoreGoesWhenItsTargetIsWrittenAnew) {
  const test::TemporaryDirectory directory;
  const std::string ended = std::to_string(ended_process());
  const auto gone = {directory.path() / (".out.part-" + ended), directory.path() / (".out.part-" + ended + "-1"),
                     temporary_name(directory.path() / "out")};
  const auto others = {directory.path() / (".out2.part-" + ended),
                       directory.path() / (".out.part-" + std::to_string(::getppid())),
                       directory.path() / (".out.old-" + ended), directory.path() / "out.part-1"};
  for (const auto& path : others) write_text(path / "model.safetensors", "whole");
  for (const auto& path : gone) write_text(path / "streamline" / "model.safetensors", "half");
  OutputDirectory out(directory.path() / "out", Overwrite::no);
  for (const auto& path : gone) EXPECT_FALSE(std::filesystem::exists(path)) << path;
  for (const auto& path : others) EXPECT_TRUE(std::filesystem::exists(path / "model.safetensors")) << path;
  out.write("model.safetensors", "whole");
  out.commit();
  EXPECT_EQ(read_text(directory.path() / "out" / "model.safetensors"), "whole");
}

TEST(Unfinished, WhatAnotherDescriptorHasLockedStays) {
  const test::TemporaryDirectory directory;
  const std::string ended = std::to_string(ended_process());
  const auto folder = directory.path() / (".out.part-" + ended + "-2"),
             file = directory.path() / (".a.part-" + ended + "-3");
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

// As two containers are, whose processes have the same number.
TEST(Unfinished, TwoWritersOfOneNumberWriteOneTargetApart) {
  const test::TemporaryDirectory directory;
  {
    OutputDirectory first(directory.path() / "out", Overwrite::no), second(directory.path() / "out", Overwrite::no);
    first.write("a", "1");
    second.write("a", "2");
    EXPECT_EQ(read_text(first.staging() / "a"), "1");
    OutputFile one(directory.path() / "file"), other(directory.path() / "file");
    remove_unfinished(directory.path());  // both are locked
    one.write("one");
    other.write("the other");
    one.commit();
    EXPECT_EQ(read_text(directory.path() / "file"), "one");
    other.commit();
    second.commit();
    EXPECT_ERROR(first.commit(), io, "already exists");
  }
  EXPECT_EQ(read_text(directory.path() / "file"), "the other");
  EXPECT_EQ(read_text(directory.path() / "out" / "a"), "2");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 2);
}

TEST(Unfinished, DirectoriesThatWereMadeForWhatIsNotFinishedGo) {
  const test::TemporaryDirectory directory;
  const auto mine = directory.path() / "mine", made = mine / "a" / "b";
  std::filesystem::create_directory(mine);
  {
    const OutputDirectory out(made / "out", Overwrite::no);
    const OutputFile file(mine / "c" / "table.csv");
    EXPECT_TRUE(std::filesystem::is_directory(made));
    EXPECT_TRUE(std::filesystem::is_directory(mine / "c"));
  }
  EXPECT_TRUE(std::filesystem::is_directory(mine));  // was there
  EXPECT_TRUE(std::filesystem::is_empty(mine));
  {
    const OutputDirectory out(made / "out", Overwrite::no);
    write_text(mine / "a" / "notes.txt", "important");
  }
  EXPECT_FALSE(std::filesystem::exists(made));
  EXPECT_EQ(read_text(mine / "a" / "notes.txt"), "important");
  OutputDirectory(made / "out", Overwrite::no).commit();
  EXPECT_TRUE(std::filesystem::is_directory(made / "out"));
}

TEST(Unfinished, ADirectoryThatAnotherRunRemovedIsMadeAgain) {
  const test::TemporaryDirectory directory;
  const auto path = directory.path() / "a" / "file";
  ParentDirectories parents;
  int calls = 0;
  const auto make = [&] {
    std::error_code error;
    if (++calls == 1) std::filesystem::remove(directory.path() / "a");
    std::filesystem::create_directory(path, error);
    return error;
  };
  EXPECT_FALSE(parents.make_below(path, make));
  EXPECT_EQ(calls, 2);
  EXPECT_TRUE(std::filesystem::is_directory(path));
  const auto never = [] { return std::make_error_code(std::errc::no_such_file_or_directory); };
  EXPECT_EQ(parents.make_below(path, never), std::errc::no_such_file_or_directory);
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
