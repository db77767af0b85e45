// SPDX-License-Identifier: Apache-2.0
// Special tokens and chat templates of a Hugging Face directory as GGUF metadata.
#pragma once

#include <cstdint>

#include "streamline/base/file.h"
#include "streamline/io/gguf_fields.h"
#include "streamline/text/pipeline.h"

namespace streamline {

// Ids of BOS, EOS, unknown, separator, padding … below `vocab`, whether BOS and EOS go around a text, and the chat
// template. Errors: format for files that are not JSON.
void add_gguf_special_tokens(const FileSet& files, const PipelineParts& parts, std::int64_t vocab, GgufFields& fields);

}  // namespace streamline
