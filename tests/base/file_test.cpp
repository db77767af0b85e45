// SPDX-License-Identifier: Apache-2.0
// Files: what is written appears whole or not at all.
#include "streamline/base/file.h"

#include <sys/resource.h>

#include <csignal>
#include <fstream>

#include "support/core/expect.h"
#include "support/core/temporary_directory.h"

namespace streamline {
namespace {
namespace fs = std::filesystem;
using test::TemporaryDirectory;

std::size_t entries(const fs::path& directory) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

TEST(File, MapsWhatWasWritten) {
  const TemporaryDirectory directory;
  write_text(directory.path() / "a.txt", "hello");
  EXPECT_EQ(map_file(directory.path() / "a.txt").text(), "hello");
  EXPECT_EQ(entries(directory.path()), 1U);
}

TEST(File, MapsAnEmptyFile) {
  const TemporaryDirectory directory;
  write_text(directory.path() / "empty", "");
  EXPECT_TRUE(map_file(directory.path() / "empty").bytes.empty());
}

TEST(File, SaysWhichFileIsMissing) {
  const TemporaryDirectory directory;
  EXPECT_ERROR(map_file(directory.path() / "gone"), io, "gone: cannot open: No such file");
  EXPECT_ERROR(map_file(directory.path()), io, "not a regular file");
  EXPECT_ERROR(open_directory(directory.path() / "gone"), io, "no such directory");
}

TEST(File, SetsRefuseNamesThatLeaveThem) {
  const TemporaryDirectory directory;
  EXPECT_ERROR(open_directory(directory.path())->open("../x"), format, "leaves the directory");
  EXPECT_ERROR(open_directory(directory.path())->open(".."), format, "leaves the directory");
  EXPECT_ERROR(memory_files("memory", {})->open("a/b"), format, "leaves the directory");
}

TEST(OutputFile, LeavesNothingWithoutCommit) {
  const TemporaryDirectory directory;
  {
    OutputFile file(directory.path() / "a");
    file.write(std::string_view("part"));
  }
  EXPECT_EQ(entries(directory.path()), 0U);
}

TEST(OutputFile, KeepsTheOldContentsUntilCommit) {
  const TemporaryDirectory directory;
  write_text(directory.path() / "a", "old");
  OutputFile file(directory.path() / "a");
  file.write(std::string_view("new"));
  EXPECT_EQ(read_text(directory.path() / "a"), "old");
  file.commit();
  EXPECT_EQ(read_text(directory.path() / "a"), "new");
}

TEST(OutputFile, ReportsAFullDiskAndLeavesNothing) {
  const TemporaryDirectory directory;
  // A limit on the size of files stands in for a full disk.
  struct rlimit before {};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const auto ignored = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { 4096, before.rlim_max };
  ::setrlimit(RLIMIT_FSIZE, &small);
  const std::string large(100000, 'x');
  EXPECT_ERROR(write_text(directory.path() / "a", large), io, "a: cannot write: File too large");
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, ignored);
  EXPECT_EQ(entries(directory.path()), 0U);
}

// Large pieces of a mapped file go from file to file; what is written must not depend on that.
TEST(OutputFile, WritesMappedBytesWhateverBecameOfTheirFile) {
  const TemporaryDirectory directory;
  const fs::path from = directory.path() / "from", to = directory.path() / "to";
  std::string text(5'000'000, ' ');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 2654435761U >> 13);
  write_text(from, text);
  const Blob blob = map_file(from);
  const auto expect_written = [&] {
    OutputFile file(to);
    file.write("before");
    file.write(blob.bytes.subspan(12'345, 3'000'001));
    file.write("behind");
    file.commit();
    EXPECT_TRUE(read_text(to) == "before" + text.substr(12'345, 3'000'001) + "behind");
  };
  expect_written();
  write_text(from, std::string(5'000'000, 'x'));  // another file of the name
  expect_written();
  fs::remove(from);
  expect_written();
}

TEST(OutputDirectory, AppearsByCommitOnly) {
  const TemporaryDirectory directory;
  {
    OutputDirectory out(directory.path() / "model", Overwrite::no);
    out.write("a.txt", "1");
  }
  EXPECT_EQ(entries(directory.path()), 0U);
  OutputDirectory out(directory.path() / "model", Overwrite::no);
  out.write("sub/b.txt", "2");
  EXPECT_FALSE(fs::exists(directory.path() / "model"));
  out.commit();
  EXPECT_EQ(read_text(directory.path() / "model/sub/b.txt"), "2");
  EXPECT_EQ(entries(directory.path()), 1U);
}

TEST(OutputDirectory, RefusesAnExistingTarget) {
  const TemporaryDirectory directory;
  write_text(directory.path() / "model/config.json", "{}");
  write_text(directory.path() / "model/model.safetensors", "old");
  EXPECT_ERROR(OutputDirectory(directory.path() / "model", Overwrite::no), io, "already exists");
  OutputDirectory out(directory.path() / "model/", Overwrite::yes);
  out.write("b", "new");
  EXPECT_TRUE(fs::exists(directory.path() / "model/config.json"));
  out.commit();
  EXPECT_FALSE(fs::exists(directory.path() / "model/config.json"));
  EXPECT_EQ(read_text(directory.path() / "model/b"), "new");
  EXPECT_EQ(entries(directory.path()), 1U);
}

TEST(OutputDirectory, ReplacesNothingButModelsAndAdapters) {
  const TemporaryDirectory directory;
  write_text(directory.path() / "precious/thesis.txt", "important");
  write_text(directory.path() / "precious/config.json", "{}");
  EXPECT_ERROR(OutputDirectory(directory.path() / "precious", Overwrite::yes), io, "remove it yourself");
  EXPECT_EQ(read_text(directory.path() / "precious/thesis.txt"), "important");
  write_text(directory.path() / "file", "important");
  EXPECT_ERROR(OutputDirectory(directory.path() / "file", Overwrite::yes), io, "is a file");
  OutputDirectory late(directory.path() / "late", Overwrite::yes);
  std::ofstream(directory.path() / "late") << "important";
  EXPECT_ERROR(late.commit(), io, "is a file");
  EXPECT_EQ(read_text(directory.path() / "late"), "important");
  EXPECT_EQ(read_text(directory.path() / "file"), "important");
  write_text(directory.path() / "lora/adapter_config.json", "{}");
  write_text(directory.path() / "lora/adapter_model.safetensors", "old");
  EXPECT_NO_THROW(OutputDirectory(directory.path() / "lora", Overwrite::yes).commit());
}

TEST(OutputDirectory, OfAFileTakesAFilesPlaceAndNoDirectorys) {
  const TemporaryDirectory directory;
  write_text(directory.path() / "file", "old");
  EXPECT_ERROR(OutputDirectory(directory.path() / "file", Overwrite::no, TargetKind::file), io, "already exists");
  EXPECT_NO_THROW(OutputDirectory(directory.path() / "file", Overwrite::yes, TargetKind::file));
  fs::create_directory(directory.path() / "empty");
  EXPECT_ERROR(OutputDirectory(directory.path() / "empty", Overwrite::yes, TargetKind::file), io, "is a directory");
  EXPECT_EQ(read_text(directory.path() / "file"), "old");
}

TEST(OutputDirectory, TakesAnEmptyDirectory) {
  const TemporaryDirectory directory;
  fs::create_directory(directory.path() / "model");
  OutputDirectory out(directory.path() / "model", Overwrite::no);
  out.write("a", "1");
  out.commit();
  EXPECT_EQ(read_text(directory.path() / "model/a"), "1");
}

TEST(OutputDirectory, SaysWhenTheTargetCannotBeWritten) {
  const TemporaryDirectory directory;
  write_text(directory.path() / "file", "");
  EXPECT_ERROR(OutputDirectory(directory.path() / "file/model", Overwrite::no), io, "cannot create this directory");
}

}  // namespace
}  // namespace streamline
