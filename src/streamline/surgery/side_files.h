// SPDX-License-Identifier: Apache-2.0
// The files of a checkpoint beside its weights and configuration that belong to any model made from it.
#pragma once

#include <string>
#include <vector>

#include "streamline/base/file.h"
#include "streamline/base/json.h"

namespace streamline {

// Names of the generation configuration, tokenizer, chat templates, preprocessors, licences and notices, and of Python
// files that an "auto_map" of config.json or tokenizer_config.json names; in lexicographic order. A README.md is not
// among them: the result has its own.
std::vector<std::string> side_files(const FileSet& files, const Json& config);

// Copies them byte for byte. Errors: io.
void copy_side_files(const FileSet& files, const Json& config, OutputDirectory& out);

}  // namespace streamline
