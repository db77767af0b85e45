// SPDX-License-Identifier: Apache-2.0
// The tokenizer that every file format is read into: added tokens, normaliser, pre-tokeniser, BPE, decoder.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "streamline/text/added_tokens.h"
#include "streamline/text/bpe.h"
#include "streamline/text/decoder.h"
#include "streamline/text/normalizer.h"
#include "streamline/text/pre_tokenizer.h"
#include "streamline/text/tokenizer.h"

namespace streamline {

// What makes tokens of a word; BPE, or SentencePiece's own algorithms.
class WordModel {
 public:
  virtual ~WordModel() = default;
  virtual void encode(std::string_view word, std::vector<TokenId>& ids) const = 0;
};

struct BpeModel : WordModel {
  BpeModel(const Vocabulary& vocabulary, const std::vector<Merge>& merges, const BpeOptions& options)
      : bpe(vocabulary, merges, options) {}
  void encode(std::string_view word, std::vector<TokenId>& ids) const override { bpe.encode(word, ids); }
  Bpe bpe;
};

// Tokens as the file writes them, by id and by string.
class TokenList {
 public:
  // Errors: format for an id below 0 or beyond any vocabulary (it must not size an array).
  void set(TokenId id, std::string token, std::string_view where);
  std::optional<TokenId> find(std::string_view token) const;
  std::int64_t size() const { return static_cast<std::int64_t>(strings_.size()); }
  const std::string& operator[](TokenId id) const { return strings_[id]; }  // empty: no such token
  const Vocabulary& ids() const { return ids_; }

 private:
  std::vector<std::string> strings_;
  Vocabulary ids_;
};

struct PipelineParts {
  std::string where;  // for messages: the file it came from
  TokenList tokens;
  std::vector<AddedToken> added;
  std::unique_ptr<const Normalizer> normalizer;
  PreTokenizers pre_tokenizers;
  std::unique_ptr<const WordModel> model;
  std::unique_ptr<const Decoder> decoder;
  std::vector<TokenId> prefix, suffix;  // what the post-processor puts around a text
  std::optional<TokenId> bos, eos;
  // What another file of the vocabulary is written from: BPE's merges in the order of their rank, or SentencePiece's
  // scores and types by id (PieceType), and whether a text gets a blank in front.
  std::vector<Merge> merges = {};
  std::vector<float> scores = {};
  std::vector<std::uint64_t> types = {};
  bool blank_in_front = false;

  // A token whose string is known keeps its id; one with id -1 gets the next free one.
  void add(AddedToken token);
  // Tokenizer::own_size()
  std::int64_t own_size() const;
};

std::unique_ptr<Tokenizer> make_pipeline(PipelineParts parts);

}  // namespace streamline
