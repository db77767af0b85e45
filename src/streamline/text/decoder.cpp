// SPDX-License-Identifier: Apache-2.0
#include "streamline/text/decoder.h"

#include <optional>

#include "streamline/base/error.h"
#include "streamline/text/json_pattern.h"
#include "streamline/text/unicode.h"

namespace streamline {
namespace {

using Made = std::unique_ptr<const Decoder>;
using Tokens = std::vector<std::string>;

std::string joined(const Tokens& tokens) {
  std::string text;
  for (const std::string& token : tokens) text += token;
  return text;
}

struct ByteLevel : Decoder {
  void apply(Tokens& tokens) const override {
    std::string bytes;
    // A token with a character outside the alphabet (an added one) stands for itself.
    for (const std::string& token : tokens) bytes += byte_level_bytes(token).value_or(token);
    tokens = {replace_invalid_utf8(bytes)};
  }
};

struct Fuse : Decoder {
  void apply(Tokens& tokens) const override { tokens = {joined(tokens)}; }
};

struct Replace : Decoder {
  Replace(Pattern what, std::string by) : pattern(std::move(what)), content(std::move(by)) {}
  void apply(Tokens& tokens) const override {
    for (std::string& token : tokens) token = pattern.replace(token, content);
  }
  Pattern pattern;
  std::string content;
};

// "<0xE2>" -> 0xE2.
std::optional<char> byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char digit : token.substr(3, 2)) {
    const char lower = static_cast<char>(digit | 0x20);
    const bool decimal = digit >= '0' && digit <= '9';
    if (!decimal && (lower < 'a' || lower > 'f')) return std::nullopt;
    value = value * 16 + (decimal ? digit - '0' : lower - 'a' + 10);
  }
  return static_cast<char>(value);
}

struct ByteFallback : Decoder {
  void apply(Tokens& tokens) const override {
    Tokens out;
    std::string bytes;
    const auto flush = [&] {
      if (bytes.empty()) return;
      if (!find_invalid_utf8(bytes)) {
        out.push_back(bytes);
      } else {
        out.insert(out.end(), bytes.size(), "\uFFFD");
      }
      bytes.clear();
    };
    for (std::string& token : tokens) {
      if (const auto byte = byte_of(token)) {
        bytes += *byte;
      } else {
        flush();
        out.push_back(std::move(token));
      }
    }
    flush();
    tokens = std::move(out);
  }
};

// Takes up to `start` copies of a character from the front of each token and up to `stop` from its end.
struct Strip : Decoder {
  void apply(Tokens& tokens) const override {
    for (std::string& token : tokens) {
      std::string_view rest = token;
      for (std::int64_t i = 0; i < start && rest.starts_with(content); ++i) rest.remove_prefix(content.size());
      for (std::int64_t i = 0; i < stop && rest.ends_with(content); ++i) rest.remove_suffix(content.size());
      token = std::string(rest);
    }
  }
  std::string content = " ";
  std::int64_t start = 0, stop = 0;
};

struct Metaspace : Decoder {
  void apply(Tokens& tokens) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i)
      tokens[i] = replacement.replace(tokens[i], i == 0 && prefixed ? "" : " ");
  }
  Metaspace(Pattern what, bool prefix) : replacement(std::move(what)), prefixed(prefix) {}
  Pattern replacement;
  bool prefixed;
};

struct Sequence : Decoder {
  void apply(Tokens& tokens) const override {
    for (const Made& step : steps) step->apply(tokens);
  }
  std::vector<Made> steps;
};

template <class Kind>
Made make(const Json&, std::string_view) {
  return std::make_unique<Kind>();
}

Made make_replace(const Json& description, std::string_view where) {
  return std::make_unique<Replace>(read_pattern(description, where), required_string(description, "content", where));
}

Made make_strip(const Json& description, std::string_view where) {
  auto made = std::make_unique<Strip>();
  made->content = required_string(description, "content", where);
  if (made->content.empty()) fail(ErrorKind::format, where, ": the decoder Strip has no character to strip");
  made->start = json_integer(description, "start", where).value_or(0);
  made->stop = json_integer(description, "stop", where).value_or(0);
  return made;
}

Made make_metaspace(const Json& description, std::string_view where) {
  const std::string replacement = json_string(description, "replacement", where).value_or("\u2581");
  const auto scheme = json_string(description, "prepend_scheme", where);
  const bool prefixed = scheme ? *scheme != "never" : json_bool(description, "add_prefix_space", where).value_or(true);
  return std::make_unique<Metaspace>(Pattern(replacement, Regex::literal(replacement, where)), prefixed);
}

Made make_sequence(const Json& description, std::string_view where) {
  auto made = std::make_unique<Sequence>();
  for (const Json& step : json_array(description, "decoders", where))
    if (auto decoder = make_decoder(step, where)) made->steps.push_back(std::move(decoder));
  return made;
}

constexpr Component<Made> kDecoders[] = {
    {"ByteLevel", make<ByteLevel>}, {"ByteFallback", make<ByteFallback>},
    {"Fuse", make<Fuse>},           {"Replace", make_replace},
    {"Strip", make_strip},          {"Metaspace", make_metaspace},
    {"Sequence", make_sequence},
};

}  // namespace

std::unique_ptr<const Decoder> make_decoder(const Json& description, std::string_view where) {
  if (description.is_null()) return nullptr;
  return component(kDecoders, "decoder", description, where)(description, where);
}

std::unique_ptr<const Decoder> byte_level_decoder() { return std::make_unique<ByteLevel>(); }

std::unique_ptr<const Decoder> sentencepiece_decoder(bool strip_prefix) {
  auto made = std::make_unique<Sequence>();
  made->steps.push_back(
      std::make_unique<Replace>(Pattern("\u2581", Regex::literal("\u2581", "SentencePiece")), std::string(" ")));
  made->steps.push_back(std::make_unique<ByteFallback>());
  made->steps.push_back(std::make_unique<Fuse>());
  if (!strip_prefix) return made;
  auto strip = std::make_unique<Strip>();
  strip->start = 1;
  made->steps.push_back(std::move(strip));
  return made;
}

}  // namespace streamline
