// SPDX-License-Identifier: Apache-2.0
// tokenizer.model. SentencePiece's BPE without a character map (all of Llama's and Mistral's) is the same algorithm as
// ours on pieces ranked by their scores, and goes through our cache; other models are run by the SentencePiece library.
#include <sentencepiece_processor.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <exception>
#include <numeric>

#include "streamline/base/error.h"
#include "streamline/text/protobuf.h"
#include "streamline/text/sentencepiece_model.h"
#include "streamline/text/tokenizer_formats.h"
#include "streamline/text/unicode.h"

namespace streamline {
namespace {

SentencePiece read_piece(std::string_view message, std::string_view where) {
  SentencePiece piece;
  read_fields(message, where, [&](const ProtobufField& field) {
    if (field.number == 1) piece.text = field.bytes;
    if (field.number == 2) piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
    if (field.number == 3) piece.type = field.value;
  });
  check_utf8(piece.text, where);
  if (piece.text.empty() || std::isnan(piece.score)) fail(ErrorKind::format, where, ": a piece without text or score");
  return piece;
}

SentencePieceModel read_model(std::string_view bytes, std::string_view where) {
  SentencePieceModel model;
  const auto read_trainer = [&](const ProtobufField& field) {
    const auto id = static_cast<std::int32_t>(field.value);
    if (field.number == 3) model.model_type = field.value;
    if (field.number == 35) model.byte_fallback = field.value != 0;
    if (field.number == 40) model.unk = id;
    if (field.number == 41) model.bos = id;
    if (field.number == 42) model.eos = id;
  };
  const auto read_normalizer = [&](const ProtobufField& field) {
    if (field.number == 2) model.has_character_map = !field.bytes.empty();
    if (field.number == 3) model.add_dummy_prefix = field.value != 0;
    if (field.number == 4) model.remove_extra_whitespaces = field.value != 0;
    if (field.number == 5) model.escape_whitespaces = field.value != 0;
  };
  read_fields(bytes, where, [&](const ProtobufField& field) {
    if (field.number == 1) model.pieces.push_back(read_piece(field.bytes, where));
    if (field.number == 2) read_fields(field.bytes, where, read_trainer);
    if (field.number == 3) read_fields(field.bytes, where, read_normalizer);
  });
  if (model.pieces.empty()) fail(ErrorKind::format, where, ": has no pieces; is it a SentencePiece model?");
  return model;
}

class LibraryModel : public WordModel {
 public:
  LibraryModel(std::string_view bytes, const std::string& where) {
    if (const std::string trouble = load(bytes); !trouble.empty())
      fail(ErrorKind::format, where, ": SentencePiece cannot read it: ", trouble);
  }
  void encode(std::string_view word, std::vector<TokenId>& ids) const override {
    std::vector<int> pieces;
    const auto status = processor_.Encode({word.data(), word.size()}, &pieces);
    if (!status.ok()) fail(ErrorKind::internal, "SentencePiece: ", status.message());
    ids.insert(ids.end(), pieces.begin(), pieces.end());
  }

 private:
  // What is wrong; empty: nothing. The library reports most of it, and throws where a piece begins with a zero byte.
  std::string load(std::string_view bytes) {
    try {
      const auto status = processor_.LoadFromSerializedProto({bytes.data(), bytes.size()});
      return status.ok() ? "" : status.message();
    } catch (const std::exception& error) {
      return error.what();
    }
  }

  sentencepiece::SentencePieceProcessor processor_;
};

}  // namespace

std::unique_ptr<WordModel> make_sentencepiece_bpe(const SentencePieceModel& model, const TokenList& tokens) {
  std::vector<std::size_t> order(model.pieces.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return model.pieces[a].score > model.pieces[b].score; });
  Vocabulary normal;
  std::vector<std::string_view> ranked;
  for (const std::size_t i : order) {
    if (model.pieces[i].type != PieceType::normal) continue;
    ranked.push_back(model.pieces[i].text);
    normal.emplace(model.pieces[i].text, static_cast<TokenId>(i));
  }
  const std::vector<Merge> merges = merges_of_tokens(normal, ranked, true);
  BpeOptions options{.byte_fallback = model.byte_fallback, .fuse_unk = true};
  if (model.unk >= 0 && model.unk < tokens.size()) options.unk = static_cast<TokenId>(model.unk);
  for (std::size_t i = 0; i < model.pieces.size(); ++i)
    if (model.pieces[i].type == PieceType::byte) normal.emplace(model.pieces[i].text, static_cast<TokenId>(i));
  return std::make_unique<BpeModel>(normal, merges, options);
}

PipelineParts read_sentencepiece(std::string_view bytes, const std::string& where, const TokenizerSettings& settings) {
  const SentencePieceModel model = read_model(bytes, where);
  PipelineParts parts;
  parts.where = where;
  for (std::size_t i = 0; i < model.pieces.size(); ++i)
    parts.tokens.set(static_cast<TokenId>(i), model.pieces[i].text, where);
  for (const SentencePiece& piece : model.pieces)
    if (piece.type == PieceType::control || piece.type == PieceType::user_defined)
      parts.add({.content = piece.text, .special = piece.type == PieceType::control});
  const bool prefix = model.add_dummy_prefix && settings.add_prefix_space.value_or(true);
  parts.blank_in_front = prefix;
  if (model.model_type == 2 && !model.has_character_map && !model.remove_extra_whitespaces &&
      model.escape_whitespaces) {
    parts.model = make_sentencepiece_bpe(model, parts.tokens);
    for (const SentencePiece& piece : model.pieces) {
      parts.scores.push_back(piece.score);
      parts.types.push_back(piece.type);
    }
    const Prefix where_prefixed = settings.legacy.value_or(false) ? Prefix::always : Prefix::first;
    parts.pre_tokenizers.steps.push_back(sentencepiece_escape(prefix ? where_prefixed : Prefix::never));
  } else {
    parts.model = std::make_unique<LibraryModel>(bytes, where);
  }
  parts.decoder = sentencepiece_decoder(prefix);
  const auto known = [&](std::int64_t id) -> std::optional<TokenId> {
    if (id < 0 || id >= parts.tokens.size()) return std::nullopt;
    return static_cast<TokenId>(id);
  };
  parts.bos = known(model.bos);
  parts.eos = known(model.eos);
  // SentencePiece's users put BOS in front unless told otherwise.
  if (parts.bos && settings.add_bos.value_or(true)) parts.prefix = {*parts.bos};
  return parts;
}

}  // namespace streamline
