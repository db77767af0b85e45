// SPDX-License-Identifier: Apache-2.0
// The names of files and directories while they are written, and what writers leave behind that are killed before they
// give them their own.
#pragma once

#include <filesystem>

namespace streamline {

// Beside `target`, ".NAME.part-123" with this process's number.
std::filesystem::path temporary_name(const std::filesystem::path& target);

// Removes temporary files of OutputFile in `directory` whose process is no more. Never fails: what cannot be removed
// does no harm.
void remove_unfinished(const std::filesystem::path& directory);

// Removes what was to become `target`, a file or a directory with all that is in it, of processes that are no more, and
// of this one. Never fails, as above.
void remove_unfinished_of(const std::filesystem::path& target);

}  // namespace streamline
