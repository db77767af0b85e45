// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding (Sennrich, Haddow, Birch 2016, arXiv:1508.07909): a word's characters, or bytes, are joined pair
// by pair, the pair with the lowest rank first, the leftmost of equals first.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "streamline/text/pair_table.h"
#include "streamline/text/tokenizer.h"
#include "streamline/text/word_cache.h"

namespace streamline {

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using Vocabulary = std::unordered_map<std::string, TokenId, StringHash, std::equal_to<>>;

struct Merge {
  TokenId left, right, result;
};

struct BpeOptions {
  bool byte_level = false;     // words are bytes; the vocabulary's keys are bytes too
  bool byte_fallback = false;  // a character that is not in the vocabulary becomes <0xE2><0x82><0xAC>
  bool ignore_merges = false;  // a word that is in the vocabulary is its token, whatever the merges say
  TokenId unk = -1;            // what is not in the vocabulary becomes this; -1: it is left out
  bool fuse_unk = false;       // neighbouring unknown characters become one
};

class Bpe {
 public:
  // Merges in the order of their rank.
  Bpe(const Vocabulary& vocabulary, const std::vector<Merge>& merges, const BpeOptions& options);

  // Appends the tokens of a word (valid UTF-8; any bytes with byte_level). May be called from several threads.
  void encode(std::string_view word, std::vector<TokenId>& ids) const;

 private:
  void encode_part(std::string_view part, std::vector<TokenId>& ids, WordCache& cache) const;
  void encode_uncached(std::string_view part, std::vector<TokenId>& ids) const;
  void first_symbols(std::string_view part, std::vector<TokenId>& symbols) const;
  bool fall_back_to_bytes(std::string_view character, std::vector<TokenId>& symbols) const;
  void merge_short(std::vector<TokenId>& symbols) const;
  void merge_long(std::vector<TokenId>& symbols) const;
  TokenId single(char32_t character) const;
  // Whether some token may cover both characters; where none does, a word can be cut without changing its tokens.
  bool may_join(char32_t left, char32_t right) const;
  void note_joints(std::string_view token);

  BpeOptions options_;
  Vocabulary whole_words_;                         // with ignore_merges: the vocabulary
  PairTable merges_;                               // (left, right) -> rank, result
  std::array<TokenId, 256> bytes_;                 // of each byte: its token, or its <0x..> token; -1: none
  std::unordered_map<char32_t, TokenId> singles_;  // tokens of one character
  std::array<TokenId, 128> ascii_;                 // the same for ASCII
  PairTable joints_;                               // neighbouring characters inside the results of merges
  mutable std::mutex cache_mutex_;
  mutable WordCache cache_;  // words seen before; a second thread that finds it taken makes its own
};

// The merges that a list of tokens implies when a pair's rank is the place of what it makes: SentencePiece, tiktoken.
// `tokens`: ids in the order of their rank; `text_of` gives a token's characters or bytes; a split that would cut a
// UTF-8 character is left out with `whole_characters`.
std::vector<Merge> merges_of_tokens(const Vocabulary& vocabulary, const std::vector<std::string_view>& tokens,
                                    bool whole_characters);

}  // namespace streamline
