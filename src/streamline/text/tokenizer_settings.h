// SPDX-License-Identifier: Apache-2.0
// tokenizer_config.json, added_tokens.json and special_tokens_map.json: what stands beside a vocabulary.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "streamline/base/file.h"
#include "streamline/text/pipeline.h"

namespace streamline {

struct TokenizerSettings {
  std::optional<std::string> bos, eos, unk;  // token strings
  std::optional<bool> add_bos, add_eos;
  std::optional<bool> legacy;  // transformers' Llama tokenizer: a prefix after each added token
  std::optional<bool> add_prefix_space;
  std::string tokenizer_class;
  std::vector<AddedToken> added;
};

TokenizerSettings read_settings(const FileSet& files);

// Added tokens that the vocabulary's own file does not have, BOS and EOS, and, where add_bos_token or add_eos_token
// is given, what goes around a text: as transformers does, it replaces the file's post-processor.
void apply_settings(const TokenizerSettings& settings, PipelineParts& parts);

// One entry of "added_tokens".
AddedToken read_added_token(const Json& description, std::string_view where);

}  // namespace streamline
