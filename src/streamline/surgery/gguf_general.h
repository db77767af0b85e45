// SPDX-License-Identifier: Apache-2.0
// The "general." keys of a GGUF file: what the model is called, where it comes from, how it likes to be sampled.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "streamline/arch/config.h"
#include "streamline/base/file.h"
#include "streamline/io/gguf_fields.h"

namespace streamline {

// From the directory's name, generation_config.json and the front matter of README.md (licence, languages, tags, base
// models). `label`: what gguf_size_label() says. Errors: format for a generation_config.json that is no JSON object.
void add_gguf_general(const FileSet& files, const std::string& label, GgufFields& fields);

// "135M", or "8x7.0B" with experts: parameters in two digits or more, of tensors with these shapes. Of those with three
// dimensions, which hold the experts of a layer, one expert is counted.
std::string gguf_size_label(const std::vector<std::vector<std::int64_t>>& shapes, const Config& config);

}  // namespace streamline
