// SPDX-License-Identifier: Apache-2.0
// What tests share: expecting one clear error, and finding the folder of reference data.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "streamline/base/error.h"

// The statement must throw Error of this kind whose message contains `text`.
#define EXPECT_ERROR(statement, error_kind, text)                                   \
  do {                                                                              \
    try {                                                                           \
      statement;                                                                    \
      ADD_FAILURE() << "no error from " #statement;                                 \
    } catch (const ::streamline::Error& error) {                                    \
      EXPECT_EQ(error.kind(), ::streamline::ErrorKind::error_kind) << error.what(); \
      EXPECT_THAT(error.what(), ::testing::HasSubstr(text));                        \
    }                                                                               \
  } while (false)

namespace streamline::test {

// The folder of reference checkpoints and tokenizers beside the checkout; STREAMLINE_SHARED overrides it.
inline std::filesystem::path shared_folder() {
  if (const char* given = std::getenv("STREAMLINE_SHARED")) return given;
  return std::filesystem::path(STREAMLINE_SOURCE_DIR) / ".." / "shared";
}

inline std::filesystem::path source_folder() { return STREAMLINE_SOURCE_DIR; }

}  // namespace streamline::test

// Skips the test, saying why, where the reference folder (or this part of it) is not there.
#define REQUIRE_SHARED(path)                                                  \
  if (!std::filesystem::exists(::streamline::test::shared_folder() / (path))) \
  GTEST_SKIP() << "reference data not present: " << (::streamline::test::shared_folder() / (path))
