// SPDX-License-Identifier: Apache-2.0
// Pre-tokenisers of tokenizer.json: cut text into the words that the model looks at one by one.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/base/json.h"
#include "streamline/text/added_tokens.h"

namespace streamline {

// Owns the text that a step had to rewrite, for as long as pieces point to it.
using TextStore = std::deque<std::string>;

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Appends the pieces of `in`, cut and perhaps rewritten, to `out`. Pieces with an id pass through.
  virtual void apply(const std::vector<Piece>& in, std::vector<Piece>& out, TextStore& store) const = 0;
};

// The steps of a pre-tokeniser one after the other.
struct PreTokenizers {
  std::vector<std::unique_ptr<const PreTokenizer>> steps;
  // Pieces are to be read as bytes (the model's vocabulary is written in the byte alphabet). The steps already turn
  // what a ByteLevel step wrote in that alphabet back into bytes.
  bool byte_level = false;

  void apply(std::vector<Piece>& pieces, TextStore& store) const;
};

// Errors: unsupported naming a type that is not known; format.
PreTokenizers make_pre_tokenizers(const Json& description, std::string_view where);

// How SentencePiece escapes white space: ' ' becomes U+2581, one of which is put in front of the text.
enum class Prefix { always, first, never };
std::unique_ptr<const PreTokenizer> sentencepiece_escape(Prefix prefix);

}  // namespace streamline
