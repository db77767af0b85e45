// SPDX-License-Identifier: Apache-2.0
// A tokenizer as GGUF metadata ("tokenizer."), as llama.cpp's converter writes it.
#pragma once

#include <cstdint>

#include "streamline/base/file.h"
#include "streamline/io/gguf_fields.h"

namespace streamline {

// The tokenizer of a Hugging Face directory, or that of a GGUF file; "none" where there is none. `vocab`: rows of the
// embedding; ids without a token become unused ones. What was made is read back and must cut sample texts as the
// original does. Errors: unsupported for a tokenizer that llama.cpp would run otherwise; those of open_tokenizer().
void add_gguf_vocabulary(const FileSet& files, std::int64_t vocab, GgufFields& fields);

}  // namespace streamline
