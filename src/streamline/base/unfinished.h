// SPDX-License-Identifier: Apache-2.0
// What writers leave behind that are killed before they give a file its name.
#pragma once

#include <filesystem>

namespace streamline {

// Removes temporary files of OutputFile in `directory` whose process is no more. Never fails: what cannot be removed
// does no harm.
void remove_unfinished(const std::filesystem::path& directory);

}  // namespace streamline
