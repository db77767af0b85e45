// SPDX-License-Identifier: Apache-2.0
#include "streamline/text/bpe_model.h"

#include "streamline/base/error.h"
#include "streamline/text/unicode.h"

namespace streamline {
namespace {

// Tokens written in the byte alphabet, as bytes. Those that are not (added ones) are no words.
Vocabulary vocabulary_of_bytes(const TokenList& tokens) {
  Vocabulary vocabulary;
  vocabulary.reserve(tokens.ids().size());
  for (const auto& [token, id] : tokens.ids())
    if (auto bytes = byte_level_bytes(token)) vocabulary.emplace(std::move(*bytes), id);
  return vocabulary;
}

}  // namespace

Merge make_merge(std::string_view left, std::string_view right, const PipelineParts& parts) {
  const auto id = [&](std::string_view token) {
    if (const auto found = parts.tokens.find(token)) return *found;
    fail(ErrorKind::format, parts.where, ": the merge '", left, " ", right, "' speaks of '", token,
         "', which is not in the vocabulary");
  };
  return {id(left), id(right), id(std::string(left) + std::string(right))};
}

Merge split_merge(std::string_view line, const PipelineParts& parts) {
  const std::size_t blank = line.find(' ');
  if (blank == line.npos || line.find(' ', blank + 1) != line.npos)
    fail(ErrorKind::format, parts.where, ": the merge '", line.substr(0, 80), "' is not two tokens and a blank");
  return make_merge(line.substr(0, blank), line.substr(blank + 1), parts);
}

std::unique_ptr<WordModel> make_bpe(const PipelineParts& parts, const std::vector<Merge>& merges, BpeOptions options) {
  options.byte_level = parts.pre_tokenizers.byte_level;
  if (!options.byte_level) return std::make_unique<BpeModel>(parts.tokens.ids(), merges, options);
  return std::make_unique<BpeModel>(vocabulary_of_bytes(parts.tokens), merges, options);
}

}  // namespace streamline
