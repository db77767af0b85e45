// SPDX-License-Identifier: Apache-2.0
// The "general." keys of a GGUF file: what the model is called, where it comes from, how it likes to be sampled.
#pragma once

#include <cstdint>
#include <string>

#include "streamline/base/file.h"
#include "streamline/io/gguf_fields.h"

namespace streamline {

// From the directory's name, generation_config.json and the front matter of README.md (licence, languages, tags, base
// models). `label`: what gguf_size_label() says. Errors: format for a generation_config.json that is no JSON object.
void add_gguf_general(const FileSet& files, const std::string& label, GgufFields& fields);

// "135M", or "8x7.0B" with experts: parameters in two digits or more. `parameters` counts one expert of each layer.
std::string gguf_size_label(std::int64_t parameters, std::int64_t experts);

}  // namespace streamline
