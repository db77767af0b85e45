// SPDX-License-Identifier: Apache-2.0
// What the readers of vocabularies with a list of merges share.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "streamline/text/pipeline.h"

namespace streamline {

// Errors: format for a token that is not in parts.tokens, or a line that is not two tokens and a blank.
Merge make_merge(std::string_view left, std::string_view right, const PipelineParts& parts);
Merge split_merge(std::string_view line, const PipelineParts& parts);

// A model of parts.tokens, byte-level when parts.pre_tokenizers are.
std::unique_ptr<WordModel> make_bpe(const PipelineParts& parts, const std::vector<Merge>& merges, BpeOptions options);

}  // namespace streamline
