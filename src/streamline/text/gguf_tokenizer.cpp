// SPDX-License-Identifier: Apache-2.0
// A GGUF file's metadata has the vocabulary as arrays (tokens, their scores or merges, their types) and the ids that
// matter; what else a tokenizer is, its model and pre-type stand for.
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/text/bpe_model.h"
#include "streamline/text/gguf_pre_types.h"
#include "streamline/text/sentencepiece_model.h"
#include "streamline/text/tokenizer_formats.h"
#include "streamline/text/unicode.h"

namespace streamline {
namespace {

constexpr std::string_view kPrefix = "tokenizer.ggml.";

std::string key(std::string_view name) { return std::string(kPrefix) += name; }

std::vector<std::string_view> read_tokens(const Gguf& gguf) {
  auto tokens = gguf.strings(key("tokens"));
  if (!tokens || tokens->empty()) fail(ErrorKind::format, gguf.where, ": has no '", key("tokens"), "'");
  for (const std::string_view token : *tokens) check_utf8(token, gguf.where + ": a token");
  return std::move(*tokens);
}

// SentencePiece's numbers; every token is a normal one where the file does not say.
std::vector<std::int64_t> read_types(const Gguf& gguf, std::size_t count) {
  auto types = gguf.integers(key("token_type"));
  if (!types) return std::vector<std::int64_t>(count, PieceType::normal);
  if (types->size() != count)
    fail(ErrorKind::format, gguf.where, ": ", count, " tokens but ", types->size(), " values of '", key("token_type"),
         "'");
  for (const std::int64_t type : *types)
    if (type < 0 || type > static_cast<std::int64_t>(PieceType::byte))  // 0: not defined
      fail(ErrorKind::unsupported, gguf.where, ": '", key("token_type"), "' has the unknown type ", type);
  return std::move(*types);
}

// Tokens, and those among them that are looked for in a text before it is cut.
void add_tokens(const std::vector<std::string_view>& tokens, const std::vector<std::int64_t>& types,
                PipelineParts& parts) {
  for (std::size_t i = 0; i < tokens.size(); ++i)
    parts.tokens.set(static_cast<TokenId>(i), std::string(tokens[i]), parts.where);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const bool special = types[i] == PieceType::control || types[i] == PieceType::unknown;
    if (tokens[i].empty() || (!special && types[i] != PieceType::user_defined)) continue;
    parts.added.push_back(
        {.id = static_cast<TokenId>(i), .content = std::string(tokens[i]), .normalized = false, .special = special});
  }
}

std::optional<TokenId> read_id(const Gguf& gguf, std::string_view name, std::int64_t count,
                               std::optional<TokenId> otherwise) {
  const auto id = gguf.integer(key(name));
  if (!id) return otherwise && *otherwise < count ? otherwise : std::nullopt;
  if (*id < 0 || *id >= count)
    fail(ErrorKind::format, gguf.where, ": '", key(name), "' is ", *id, ", but there are ", count, " tokens");
  return static_cast<TokenId>(*id);
}

SentencePieceModel read_pieces(const Gguf& gguf, const std::vector<std::string_view>& tokens,
                               const std::vector<std::int64_t>& types) {
  const auto scores = gguf.numbers(key("scores"));
  if (!scores || scores->size() != tokens.size())
    fail(ErrorKind::format, gguf.where, ": ", tokens.size(), " tokens but ", scores ? scores->size() : 0,
         " values of '", key("scores"), "'");
  SentencePieceModel model{.pieces = {}, .model_type = 2, .byte_fallback = true, .bos = -1, .eos = -1};
  for (std::size_t i = 0; i < tokens.size(); ++i)
    model.pieces.push_back(
        {std::string(tokens[i]), static_cast<float>((*scores)[i]), static_cast<std::uint64_t>(types[i])});
  return model;
}

// SentencePiece's BPE. The blank in front of a text also goes behind each special token, as llama.cpp has it.
void read_llama(const Gguf& gguf, const std::vector<std::string_view>& tokens, const std::vector<std::int64_t>& types,
                PipelineParts& parts) {
  SentencePieceModel model = read_pieces(gguf, tokens, types);
  const auto count = static_cast<std::int64_t>(tokens.size());
  model.unk = read_id(gguf, "unknown_token_id", count, 0).value_or(-1);
  parts.bos = read_id(gguf, "bos_token_id", count, 1);
  parts.eos = read_id(gguf, "eos_token_id", count, 2);
  const bool prefix = gguf.boolean(key("add_space_prefix")).value_or(true);
  parts.pre_tokenizers.steps.push_back(sentencepiece_escape(prefix ? Prefix::always : Prefix::never));
  parts.model = make_sentencepiece_bpe(model, parts.tokens);
  parts.decoder = sentencepiece_decoder(prefix);
  if (gguf.boolean(key("add_bos_token")).value_or(true) && parts.bos) parts.prefix = {*parts.bos};
}

const GgufPreType& read_pre_type(const Gguf& gguf) {
  const auto name = gguf.string(key("pre"));
  if (!name)
    log_warning(gguf.where + ": has no '" + key("pre") + "', so how it cuts text into words is a guess; " +
                "convert the model again with a current llama.cpp if that is possible");
  const GgufPreType* type = find_gguf_pre_type(name.value_or("default"));
  if (type == nullptr)
    fail(ErrorKind::unsupported, gguf.where, ": '", key("pre"), "' is '", *name, "', which is not known; ",
         "put the model's tokenizer.json beside it in a directory of a Hugging Face checkpoint instead");
  return *type;
}

Json byte_level_steps(const GgufPreType& type) {
  if (!type.steps.empty()) return parse_json(type.steps, type.name);
  Json steps = Json::array();
  for (const std::string_view pattern : type.patterns)
    steps.push_back({{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}});
  steps.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}});
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

// Byte-level BPE. ("add_space_prefix" is written for these vocabularies too, but means nothing there.)
void read_gpt2(const Gguf& gguf, PipelineParts& parts) {
  const GgufPreType& type = read_pre_type(gguf);
  const auto lines = gguf.strings(key("merges"));
  if (!lines) fail(ErrorKind::format, gguf.where, ": has no '", key("merges"), "'");
  std::vector<Merge> merges;
  merges.reserve(lines->size());
  for (const std::string_view line : *lines) merges.push_back(split_merge(line, parts));
  parts.bos = read_id(gguf, "bos_token_id", parts.tokens.size(), std::nullopt);
  parts.eos = read_id(gguf, "eos_token_id", parts.tokens.size(), std::nullopt);
  if (type.nfc) parts.normalizer = make_normalizer({{"type", "NFC"}}, gguf.where);
  parts.pre_tokenizers = make_pre_tokenizers(byte_level_steps(type), gguf.where);
  parts.model = make_bpe(parts, merges, {.ignore_merges = type.ignore_merges});
  parts.decoder = byte_level_decoder();
  if (gguf.boolean(key("add_bos_token")).value_or(type.adds_bos) && parts.bos) parts.prefix = {*parts.bos};
}

}  // namespace

PipelineParts read_gguf_tokenizer(const Gguf& gguf) {
  const std::string_view model = gguf.string(key("model")).value_or("");
  if (model.empty()) fail(ErrorKind::format, gguf.where, ": has no tokenizer ('", key("model"), "')");
  if (model != "llama" && model != "gpt2")
    fail(ErrorKind::unsupported, gguf.where, ": '", key("model"), "' is '", model,
         "'; llama (SentencePiece) and gpt2 (byte-level BPE) are read");
  const std::vector<std::string_view> tokens = read_tokens(gguf);
  const std::vector<std::int64_t> types = read_types(gguf, tokens.size());
  PipelineParts parts;
  parts.where = gguf.where;
  add_tokens(tokens, types, parts);
  model == "llama" ? read_llama(gguf, tokens, types, parts) : read_gpt2(gguf, parts);
  if (gguf.boolean(key("add_eos_token")).value_or(false) && parts.eos) parts.suffix = {*parts.eos};
  return parts;
}

}  // namespace streamline
