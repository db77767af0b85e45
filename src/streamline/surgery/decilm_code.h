// SPDX-License-Identifier: Apache-2.0
// The Python files with which transformers and vLLM load a DeciLM checkpoint (surgery/decilm/*.py, embedded at build
// time).
#pragma once

#include "streamline/base/file.h"
#include "streamline/base/json.h"

namespace streamline {

// Names the files in `auto_map` of `config`, and writes them.
void write_decilm_code(Json& config, OutputDirectory& out);

}  // namespace streamline
