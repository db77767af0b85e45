// SPDX-License-Identifier: Apache-2.0
// Temporary files without a name, and hints on mapped bytes.
#include "streamline/base/scratch_file.h"

#include "streamline/base/file.h"
#include "streamline/base/residency.h"
#include "support/core/expect.h"
#include "support/core/scratch_goes_to.h"
#include "support/core/temporary_directory.h"

namespace streamline {
namespace {

using test::ScratchGoesTo;

TEST(ScratchFile, KeepsWhatIsWrittenAndHasNoName) {
  const test::TemporaryDirectory directory;
  const ScratchGoesTo there(directory.path());
  const ScratchFile file(10'000);
  ASSERT_EQ(file.bytes().size(), 10'000U);
  EXPECT_EQ(file.bytes().back(), std::byte{0});
  file.bytes().front() = std::byte{7};
  done_with(file.bytes());
  EXPECT_EQ(file.bytes().front(), std::byte{7});
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(ScratchFile, SaysWhereThereIsNoRoom) {
  const test::TemporaryDirectory directory;
  const ScratchGoesTo there(directory.path());
  EXPECT_ERROR(ScratchFile(std::uint64_t{1} << 50), resource, "a temporary file of 1125.9 TB is needed here");
  EXPECT_GT(scratch_space(), 0U);
}

TEST(ScratchFile, SaysWhereThereIsNoDirectory) {
  const ScratchGoesTo nowhere("/nowhere");
  EXPECT_ERROR(ScratchFile(1), io, "/nowhere: cannot make a temporary file here");
}

TEST(Residency, WhatWasTakenOutOfTheProcessComesBack) {
  const test::TemporaryDirectory directory;
  write_text(directory.path() / "file", std::string(100'000, 'x'));
  const Blob blob = map_file(directory.path() / "file");
  ASSERT_TRUE(blob.mapped);
  EXPECT_FALSE(memory_blob("x").mapped);
  will_need(blob.bytes);
  EXPECT_EQ(blob.bytes.back(), std::byte{'x'});
  EXPECT_GT(resident_bytes(blob.bytes), 0U);
  EXPECT_LE(resident_bytes(blob.bytes), 100'000U);
  done_with(blob.bytes);
  EXPECT_EQ(blob.bytes[50'000], std::byte{'x'});
  EXPECT_EQ(resident_bytes({}), 0U);
}

}  // namespace
}  // namespace streamline
