// SPDX-License-Identifier: Apache-2.0
// tiktoken's rank files, as Llama 3 (tokenizer.model) and Qwen (qwen.tiktoken) ship them. The file has the ranks only;
// pattern and special tokens are the tokenizer's, known here by the number of its ranks.
#include <algorithm>
#include <charconv>

#include "streamline/base/error.h"
#include "streamline/text/patterns.h"
#include "streamline/text/tokenizer_formats.h"
#include "streamline/text/unicode.h"

namespace streamline {
namespace {

struct Known {
  std::string_view name;
  std::int64_t ranks;
  std::string_view pattern;
  bool nfc;
  std::vector<std::string> special;  // from id `ranks` on
  int bos, eos;                      // indices into special; -1: none
};

std::vector<std::string> llama3_special() {
  std::vector<std::string> tokens = {"<|begin_of_text|>",
                                     "<|end_of_text|>",
                                     "<|reserved_special_token_0|>",
                                     "<|reserved_special_token_1|>",
                                     "<|finetune_right_pad_id|>",
                                     "<|reserved_special_token_2|>",
                                     "<|start_header_id|>",
                                     "<|end_header_id|>",
                                     "<|eom_id|>",
                                     "<|eot_id|>",
                                     "<|python_tag|>"};
  for (int i = 3; tokens.size() < 256; ++i) tokens.push_back("<|reserved_special_token_" + std::to_string(i) + "|>");
  return tokens;
}

std::vector<Known> known_tokenizers() {
  return {{"Llama 3", 128000, kLlama3Pattern, false, llama3_special(), 0, 1},
          {"Qwen", 151643, kQwenPattern, true, {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}, -1, 0}};
}

int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

std::optional<std::string> base64_decode(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string bytes;
  unsigned bits = 0, count = 0;
  for (const char c : text) {
    const int value = base64_value(c);
    if (value < 0) return std::nullopt;
    bits = (bits << 6 | static_cast<unsigned>(value)) & 0xFFFF;
    count += 6;
    if (count >= 8) bytes.push_back(static_cast<char>(bits >> (count -= 8)));
  }
  return bytes;
}

struct Rank {
  std::string bytes;
  std::int32_t rank = -1;
};

// "IQ== 0"
std::optional<Rank> read_line(std::string_view line) {
  const std::size_t blank = line.find(' ');
  if (blank == line.npos || blank == 0) return std::nullopt;
  auto bytes = base64_decode(line.substr(0, blank));
  const std::string_view number = line.substr(blank + 1);
  Rank rank;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), rank.rank);
  if (!bytes || bytes->empty() || error != std::errc() || end != number.data() + number.size()) return std::nullopt;
  rank.bytes = std::move(*bytes);
  return rank;
}

std::string_view next_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

std::string in_byte_alphabet(std::string_view bytes) {
  std::string token;
  for (const char c : bytes) append_utf8(token, byte_level_character(static_cast<unsigned char>(c)));
  return token;
}

// Ranks are 0, 1, 2 …, in any order.
std::vector<std::string> read_ranks(std::string_view text, const std::string& where) {
  std::vector<std::string> by_rank(std::count(text.begin(), text.end(), '\n') + 1);
  std::size_t count = 0;
  for (std::int64_t number = 1; !text.empty(); ++number) {
    const std::string_view line = next_line(text);
    if (line.empty()) continue;
    auto rank = read_line(line);
    if (!rank || rank->rank < 0 || static_cast<std::size_t>(rank->rank) >= by_rank.size() ||
        !by_rank[rank->rank].empty())
      fail(ErrorKind::format, where, ":", number, ": not a token in base64 and its rank: '", line.substr(0, 60), "'");
    by_rank[rank->rank] = std::move(rank->bytes);
    ++count;
  }
  by_rank.resize(count);
  for (std::size_t rank = 0; rank < count; ++rank)
    if (by_rank[rank].empty()) fail(ErrorKind::format, where, ": rank ", rank, " is missing");
  return by_rank;
}

const Known& find_known(const std::vector<Known>& all, std::size_t ranks, const std::string& where) {
  for (const Known& known : all)
    if (static_cast<std::size_t>(known.ranks) == ranks) return known;
  fail(ErrorKind::unsupported, where, ": a tiktoken file of ", ranks,
       " ranks; only those of Llama 3 (128000) and Qwen ",
       "(151643) are known; a tokenizer.json beside it would be read first");
}

}  // namespace

bool is_tiktoken(std::string_view text) { return read_line(next_line(text)).has_value(); }

PipelineParts read_tiktoken(std::string_view text, const std::string& where, const TokenizerSettings& settings) {
  const std::vector<std::string> ranks = read_ranks(text, where);
  const std::vector<Known> all = known_tokenizers();
  const Known& known = find_known(all, ranks.size(), where);
  PipelineParts parts;
  parts.where = where;
  Vocabulary vocabulary;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    vocabulary.emplace(ranks[rank], static_cast<TokenId>(rank));
    parts.tokens.set(static_cast<TokenId>(rank), in_byte_alphabet(ranks[rank]), where);
  }
  parts.merges = merges_of_tokens(vocabulary, std::vector<std::string_view>(ranks.begin(), ranks.end()), false);
  parts.model =
      std::make_unique<BpeModel>(vocabulary, parts.merges, BpeOptions{.byte_level = true, .ignore_merges = true});
  const Json split = {{"type", "Split"}, {"pattern", {{"Regex", known.pattern}}}, {"behavior", "Isolated"}};
  const Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  parts.pre_tokenizers =
      make_pre_tokenizers({{"type", "Sequence"}, {"pretokenizers", Json::array({split, bytes})}}, where);
  if (known.nfc) parts.normalizer = make_normalizer({{"type", "NFC"}}, where);
  parts.decoder = byte_level_decoder();
  for (std::size_t i = 0; i < known.special.size() && settings.added.empty(); ++i)
    parts.add({.id = static_cast<TokenId>(ranks.size() + i), .content = known.special[i], .special = true});
  for (const AddedToken& token : settings.added) parts.add(token);
  if (known.bos >= 0) parts.bos = parts.tokens.find(known.special[known.bos]);
  parts.eos = parts.tokens.find(known.special[known.eos]);
  if (parts.bos) parts.prefix = {*parts.bos};
  return parts;
}

}  // namespace streamline
