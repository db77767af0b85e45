// SPDX-License-Identifier: Apache-2.0
// Added and special tokens: found in the text before anything else looks at it, longest match first.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/text/tokenizer.h"

namespace streamline {

struct AddedToken {
  TokenId id = -1;
  std::string content;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it with it
  bool rstrip = false;       // … and after it
  bool normalized = false;   // looked for in the normalised text, itself normalised
  bool special = false;
};

// A stretch of text on its way to token ids.
struct Piece {
  std::string_view text;
  TokenId id = -1;             // >= 0: an added token, which no later step touches
  bool at_text_start = false;  // begins where the whole text begins
};

class AddedTokenFinder {
 public:
  // `spelling` says what to look for: a token's content, or what the normaliser makes of it.
  void add(const AddedToken& token, std::string_view spelling);
  bool empty() const { return tokens_.empty(); }
  // Appends `piece` cut at the tokens it contains.
  void split(const Piece& piece, std::vector<Piece>& out) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, std::int32_t>> children;  // few; searched in order
    std::int32_t token = -1;                                       // index into tokens_
  };
  std::int32_t child(std::int32_t node, unsigned char byte) const;
  // Index of the longest token that starts at `position`, or -1; `end` is where it ends.
  std::int32_t longest_at(std::string_view text, std::size_t position, std::size_t& end) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::array<std::int32_t, 256> first_{};  // child of the root; 0: none
};

}  // namespace streamline
