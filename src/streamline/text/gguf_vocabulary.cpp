// SPDX-License-Identifier: Apache-2.0
#include "streamline/text/gguf_vocabulary.h"

#include <algorithm>
#include <cctype>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/io/gguf_writer.h"
#include "streamline/text/gguf_pre_types.h"
#include "streamline/text/gguf_special_tokens.h"
#include "streamline/text/sentencepiece_model.h"
#include "streamline/text/tokenizer_formats.h"

namespace streamline {
namespace {

constexpr float kAddedScore = -1000, kUnusedScore = -10000;

// Text that tells pre-tokenisers apart: contractions, digits, white space, punctuation, other scripts, symbols.
const std::vector<std::string>& samples() {
  static const std::vector<std::string> texts = {
      "The quick brown fox jumps over the lazy dog. It's what we've all said, isn't it? I'LL say so: DON'T!",
      "1 22 333 4444 55555 666666 7777777 and 3.14159, 1,000,000.00 or 0x1F; v2.0-rc1 a1b2c3",
      "  two  blanks\n\n\nlines\t\ttabs \n \r\n end   \n    indented\n",
      "for (int i = 0; i < n; ++i) { x[i] += f(\"a_b\") / 2; }  // comment #1 @user $5 100% a&b ~^`|\\",
      "Größe über Ärger, façade naïve, Пример текста на русском, ελληνικά, 日本語のテキスト、中文，한국어 "
      "العربية हिन्दी ไทย",
      "e\xCC\x81 A\xCC\x8A \xEF\xAC\x81 ½ ² \xE2\x84\xAB 🦙🦙 👩‍👩‍👧 — … “quotes” "
      "‘single’ "
      "«guillemets» "
      "===---!!!???"};
  return texts;
}

bool looks_special(const std::string& token) {
  constexpr std::string_view kAlso[] = {"<pad>", "<mask>", "<2mass>", "[@BOS@]"};
  if (std::find(std::begin(kAlso), std::end(kAlso), token) != std::end(kAlso)) return true;
  return (token.starts_with("<|") && token.ends_with("|>")) || (token.starts_with("<｜") && token.ends_with("｜>")) ||
         (token.starts_with("<unused") && token.ends_with(">"));
}

bool is_byte(const std::string& token) {
  return token.size() == 6 && token.starts_with("<0x") && token.ends_with(">") &&
         std::isxdigit(static_cast<unsigned char>(token[3])) != 0 &&
         std::isxdigit(static_cast<unsigned char>(token[4])) != 0;
}

// Blanks in tokens that are looked for in a text are blanks there.
std::string with_blanks(std::string token) {
  constexpr std::string_view kBlank = "\xE2\x96\x81";
  for (std::size_t at = token.find(kBlank); at != std::string::npos; at = token.find(kBlank, at + 1))
    token.replace(at, kBlank.size(), " ");
  return token;
}

struct Entries {
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<std::int32_t> types;

  Entries(const PipelineParts& parts, std::int64_t vocab) {
    for (std::int64_t id = 0; id < vocab; ++id) {
      const std::string token = id < parts.tokens.size() ? parts.tokens[static_cast<TokenId>(id)] : std::string();
      tokens.push_back(token.empty() ? "[PAD" + std::to_string(id) + "]" : token);
      scores.push_back(kUnusedScore);
      types.push_back(static_cast<std::int32_t>(token.empty() ? PieceType::unused : PieceType::normal));
    }
    for (const AddedToken& token : parts.added) {
      if (token.id < 0 || token.id >= vocab) continue;
      const auto id = static_cast<std::size_t>(token.id);
      const bool special = token.special || looks_special(token.content);
      types[id] = static_cast<std::int32_t>(special ? PieceType::control : PieceType::user_defined);
      if (!special) tokens[id] = with_blanks(tokens[id]);
      scores[id] = kAddedScore;
    }
  }
};

void add_merges(const PipelineParts& parts, GgufFields& fields) {
  std::vector<std::string> lines;
  lines.reserve(parts.merges.size());
  for (const Merge& merge : parts.merges) lines.push_back(parts.tokens[merge.left] + " " + parts.tokens[merge.right]);
  fields.strings("tokenizer.ggml.merges", lines);
}

// SentencePiece's own scores and types, or those that give a list of merges the same order.
void add_pieces(const PipelineParts& parts, Entries& entries) {
  const std::size_t count = entries.tokens.size();
  const auto is_added = [&](std::size_t id) {
    const auto type = static_cast<std::uint64_t>(entries.types[id]);
    return type == PieceType::control || type == PieceType::user_defined;
  };
  for (std::size_t id = 0; id < std::min(count, parts.scores.size()); ++id) {
    const bool own = parts.types[id] != PieceType::normal || !is_added(id);
    if (own) entries.scores[id] = parts.scores[id];
    if (own && parts.types[id] != PieceType::user_defined)
      entries.types[id] = static_cast<std::int32_t>(parts.types[id]);
  }
  if (!parts.scores.empty()) return;
  for (std::size_t rank = parts.merges.size(); rank-- > 0;)
    if (const auto id = static_cast<std::size_t>(parts.merges[rank].result); id < count && !is_added(id))
      entries.scores[id] = -static_cast<float>(rank);
  for (std::size_t id = 0; id < count; ++id)
    if (is_byte(entries.tokens[id])) entries.types[id] = static_cast<std::int32_t>(PieceType::byte);
}

void add_entries(const Entries& entries, std::string_view model, std::string_view pre, GgufFields& fields) {
  fields.string("tokenizer.ggml.model", model);
  fields.string("tokenizer.ggml.pre", pre);
  fields.strings("tokenizer.ggml.tokens", entries.tokens);
  if (model == "llama") fields.f32s("tokenizer.ggml.scores", entries.scores);
  fields.i32s("tokenizer.ggml.token_type", entries.types);
}

std::unique_ptr<Tokenizer> read_back(const GgufFields& fields) {
  const std::string file = gguf_header(fields, {});
  return make_pipeline(read_gguf_tokenizer(parse_gguf(std::as_bytes(std::span(file)), "the vocabulary")));
}

using Encodings = std::vector<std::vector<TokenId>>;

Encodings encode_samples(const Tokenizer& tokenizer) {
  Encodings ids;
  for (const std::string& text : samples()) ids.push_back(tokenizer.encode(text, true));
  return ids;
}

bool same_words(const GgufPreType& a, const GgufPreType& b) {
  return a.patterns == b.patterns && a.steps == b.steps && a.nfc == b.nfc && a.ignore_merges == b.ignore_merges;
}

// Byte-level vocabularies: the kind of pre-tokeniser is the first known one that cuts the samples in the same way.
std::string find_pre_type(const Encodings& expected, const std::string& where, const GgufFields& fields) {
  std::vector<const GgufPreType*> tried;
  for (const GgufPreType& type : gguf_pre_types()) {
    const bool again =
        std::any_of(tried.begin(), tried.end(), [&](const auto* other) { return same_words(*other, type); });
    if (again || type.name == "default") continue;
    tried.push_back(&type);
    GgufFields candidate = fields;
    candidate.string("tokenizer.ggml.pre", type.name);
    if (encode_samples(*read_back(candidate)) == expected) return std::string(type.name);
  }
  fail(ErrorKind::unsupported, where, ": llama.cpp has no pre-tokeniser that this program knows (tokenizer.ggml.pre) ",
       "and that cuts text into the same tokens");
}

void add_directory_vocabulary(const FileSet& files, std::int64_t vocab, GgufFields& fields) {
  PipelineParts parts = read_tokenizer(files);
  const std::string where = parts.where;
  if (const std::string excess = excess_of_tokens(parts.own_size(), vocab); !excess.empty())
    fail(ErrorKind::mismatch, where, ": ", excess);
  if (parts.tokens.size() > vocab)
    log_warning(where + ": the added tokens from " + std::to_string(vocab) +
                " on have no row in the embedding and are left out");
  if (parts.merges.empty() && parts.scores.empty())
    fail(ErrorKind::unsupported, where, ": only BPE vocabularies can be written as GGUF metadata");
  const bool bytes = parts.pre_tokenizers.byte_level;
  Entries entries(parts, vocab);
  if (!bytes) add_pieces(parts, entries);
  GgufFields made;
  add_entries(entries, bytes ? "gpt2" : "llama", "default", made);
  if (bytes) add_merges(parts, made);
  add_gguf_special_tokens(files, parts, vocab, made);
  const bool blank = parts.blank_in_front;
  const bool sentencepiece = !parts.scores.empty();
  const std::unique_ptr<Tokenizer> original = make_pipeline(std::move(parts));
  const Encodings expected = encode_samples(*original);
  if (bytes) {
    made.string("tokenizer.ggml.pre", find_pre_type(expected, where, made));
  } else {
    if (sentencepiece && !blank) made.boolean("tokenizer.ggml.add_space_prefix", false);
    if (!sentencepiece && encode_samples(*read_back(made)) != expected)
      made.boolean("tokenizer.ggml.add_space_prefix", false);
    if (encode_samples(*read_back(made)) != expected)
      fail(ErrorKind::unsupported, where, ": llama.cpp would cut text into other tokens than this tokenizer does");
  }
  for (const GgufField& field : made.all()) fields.add(field);
}

}  // namespace

void add_gguf_vocabulary(const FileSet& files, std::int64_t vocab, GgufFields& fields) {
  if (has_tokenizer(files)) return add_directory_vocabulary(files, vocab, fields);
  if (const std::string name = find_gguf(files); !name.empty()) {
    const std::vector<GgufPart> parts = open_gguf(files, name);
    for (const GgufEntry& entry : parts.front().gguf.metadata)
      if (entry.key.starts_with("tokenizer.")) fields.copy(entry);
    return;
  }
  fields.string("tokenizer.ggml.model", "none");
}

}  // namespace streamline
