// SPDX-License-Identifier: Apache-2.0
#include "streamline/text/pipeline.h"

#include <algorithm>
#include <limits>

#include "streamline/base/error.h"
#include "streamline/text/unicode.h"

namespace streamline {
namespace {

constexpr std::int64_t kMostTokens = 1 << 24;

class Pipeline : public Tokenizer {
 public:
  explicit Pipeline(PipelineParts parts) : parts_(std::move(parts)), special_(parts_.tokens.size(), 0) {
    for (const AddedToken& token : parts_.added) {
      if (token.special) special_[token.id] = 1;
      if (token.normalized && parts_.normalizer != nullptr) {
        in_normalized_.add(token, parts_.normalizer->apply(token.content));
      } else {
        (token.normalized ? in_normalized_ : in_raw_).add(token, token.content);
      }
    }
  }

  std::vector<TokenId> encode(std::string_view text, bool add_special) const override {
    check_utf8(text, "the text");
    if (text.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
      fail(ErrorKind::resource, "one text of ", text.size(), " bytes; at most 2 GiB at once can be tokenised");
    TextStore store;
    std::vector<Piece> pieces = cut_at_added_tokens(text, store);
    parts_.pre_tokenizers.apply(pieces, store);
    std::vector<TokenId> ids;
    ids.reserve(pieces.size() + 8);
    if (add_special) ids = parts_.prefix;
    for (const Piece& piece : pieces) {
      if (piece.id >= 0) {
        ids.push_back(piece.id);
      } else {
        parts_.model->encode(piece.text, ids);
      }
    }
    if (add_special) ids.insert(ids.end(), parts_.suffix.begin(), parts_.suffix.end());
    return ids;
  }

  std::string decode(std::span<const TokenId> ids, bool skip_special) const override {
    std::vector<std::string> tokens;
    tokens.reserve(ids.size());
    for (const TokenId id : ids) {
      if (id < 0 || id >= vocab_size())
        fail(ErrorKind::mismatch, parts_.where, ": token id ", id, " is not one of its ", vocab_size());
      const std::string& token = parts_.tokens[id];
      if (!token.empty() && !(skip_special && special_[id])) tokens.push_back(token);
    }
    if (parts_.decoder != nullptr) parts_.decoder->apply(tokens);
    std::string text;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0 && parts_.decoder == nullptr) text += ' ';
      text += tokens[i];
    }
    return text;
  }

  std::int64_t vocab_size() const override { return parts_.tokens.size(); }
  std::int64_t own_size() const override { return parts_.own_size(); }
  std::optional<TokenId> bos() const override { return parts_.bos; }
  std::optional<TokenId> eos() const override { return parts_.eos; }
  bool adds_bos() const override {
    return parts_.bos.has_value() && !parts_.prefix.empty() && parts_.prefix.front() == *parts_.bos;
  }

 private:
  std::vector<Piece> cut_at_added_tokens(std::string_view text, TextStore& store) const {
    std::vector<Piece> raw, pieces;
    in_raw_.split({text, -1, true}, raw);
    for (Piece& piece : raw) {
      if (piece.id >= 0) {
        pieces.push_back(piece);
        continue;
      }
      if (parts_.normalizer != nullptr) piece.text = store.emplace_back(parts_.normalizer->apply(piece.text));
      in_normalized_.split(piece, pieces);
    }
    return pieces;
  }

  PipelineParts parts_;
  std::vector<char> special_;  // by id
  AddedTokenFinder in_raw_, in_normalized_;
};

}  // namespace

void TokenList::set(TokenId id, std::string token, std::string_view where) {
  if (id < 0 || id >= kMostTokens) fail(ErrorKind::format, where, ": token '", token, "' has the id ", id);
  if (id >= size()) strings_.resize(id + 1);
  ids_[token] = id;
  strings_[id] = std::move(token);
}

std::optional<TokenId> TokenList::find(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

void PipelineParts::add(AddedToken token) {
  if (token.content.empty()) return;
  if (const auto known = tokens.find(token.content)) token.id = *known;
  if (token.id < 0) token.id = static_cast<TokenId>(tokens.size());
  tokens.set(token.id, token.content, where);
  const auto same = [&](const AddedToken& other) { return other.content == token.content; };
  const auto found = std::find_if(added.begin(), added.end(), same);
  if (found == added.end()) {
    added.push_back(std::move(token));
  } else {
    *found = std::move(token);
  }
}

std::int64_t PipelineParts::own_size() const {
  std::vector<bool> is_added(static_cast<std::size_t>(tokens.size()));
  for (const AddedToken& token : added) is_added[static_cast<std::size_t>(token.id)] = true;
  std::int64_t size = tokens.size();
  while (size > 0 && (is_added[static_cast<std::size_t>(size - 1)] || tokens[static_cast<TokenId>(size - 1)].empty()))
    --size;
  return size;
}

std::unique_ptr<Tokenizer> make_pipeline(PipelineParts parts) { return std::make_unique<Pipeline>(std::move(parts)); }

}  // namespace streamline
