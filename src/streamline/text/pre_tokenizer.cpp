// SPDX-License-Identifier: Apache-2.0
#include "streamline/text/pre_tokenizer.h"

#include <algorithm>
#include <optional>

#include "streamline/text/json_pattern.h"
#include "streamline/text/patterns.h"
#include "streamline/text/unicode.h"

namespace streamline {
namespace {

using Made = std::unique_ptr<const PreTokenizer>;

constexpr std::string_view kEscapedSpace = "\u2581";

// What becomes of the matches of a pattern: the words are the tokenizers library's.
enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

struct Part {
  Range range;
  bool match;
};

// Matches and the gaps between them; `invert` swaps the two.
void parts_of(std::string_view text, const std::vector<Range>& matches, bool invert, std::vector<Part>& parts) {
  std::size_t done = 0;
  for (const Range& match : matches) {
    if (done < match.begin) parts.push_back({{done, match.begin}, invert});
    parts.push_back({match, !invert});
    done = match.end;
  }
  if (done < text.size()) parts.push_back({{done, text.size()}, invert});
}

// Joins each match to its left neighbour, unless that is a match too.
std::vector<Part> merge_with_previous(const std::vector<Part>& parts) {
  std::vector<Part> merged;
  bool previous = false;
  for (const Part& part : parts) {
    if (part.match && !previous && !merged.empty()) {
      merged.back().range.end = part.range.end;
    } else {
      merged.push_back(part);
    }
    previous = part.match;
  }
  return merged;
}

std::vector<Part> merge_with_next(const std::vector<Part>& parts) {
  std::vector<Part> merged;
  bool next = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->match && !next && !merged.empty()) {
      merged.back().range.begin = part->range.begin;
    } else {
      merged.push_back(*part);
    }
    next = part->match;
  }
  std::reverse(merged.begin(), merged.end());
  return merged;
}

std::vector<Part> merge_alike(const std::vector<Part>& parts) {
  std::vector<Part> merged;
  bool previous = false;
  for (const Part& part : parts) {
    if (part.match == previous && !merged.empty()) {
      merged.back().range.end = part.range.end;
    } else {
      merged.push_back(part);
    }
    previous = part.match;
  }
  return merged;
}

void emit(const Piece& piece, std::vector<Part>& parts, Behavior behavior, std::vector<Piece>& out) {
  if (behavior == Behavior::merged_with_previous) parts = merge_with_previous(parts);
  if (behavior == Behavior::merged_with_next) parts = merge_with_next(parts);
  if (behavior == Behavior::contiguous) parts = merge_alike(parts);
  for (const auto& [range, match] : parts) {
    if (range.begin == range.end || (match && behavior == Behavior::removed)) continue;
    out.push_back(
        {piece.text.substr(range.begin, range.end - range.begin), -1, piece.at_text_start && range.begin == 0});
  }
}

// Cuts where `find` says. `find` appends matches to an empty list.
template <class Find>
void split_pieces(const std::vector<Piece>& in, std::vector<Piece>& out, Behavior behavior, bool invert,
                  const Find& find) {
  std::vector<Range> matches;
  std::vector<Part> parts;
  for (const Piece& piece : in) {
    if (piece.id >= 0) {
      out.push_back(piece);
      continue;
    }
    matches.clear();
    parts.clear();
    find(piece.text, matches);
    parts_of(piece.text, matches, invert, parts);
    emit(piece, parts, behavior, out);
  }
}

struct SplitByPattern : PreTokenizer {
  SplitByPattern(Regex what, Behavior how, bool inverted) : regex(std::move(what)), behavior(how), invert(inverted) {}
  void apply(const std::vector<Piece>& in, std::vector<Piece>& out, TextStore&) const override {
    Regex::Matcher matcher(regex);
    split_pieces(in, out, behavior, invert,
                 [&](std::string_view text, std::vector<Range>& matches) { matcher.find_all(text, matches); });
  }
  Regex regex;
  Behavior behavior;
  bool invert;
};

// Each character for which `test` holds is a match of its own.
struct SplitByCharacter : PreTokenizer {
  using Test = bool (*)(char32_t);
  SplitByCharacter(Test what, Behavior how) : test(what), behavior(how) {}
  void apply(const std::vector<Piece>& in, std::vector<Piece>& out, TextStore&) const override {
    split_pieces(in, out, behavior, false, [&](std::string_view text, std::vector<Range>& matches) {
      for (std::size_t i = 0; i < text.size();) {
        const CodePoint c = code_point_at(text, i);
        if (test(c.value)) matches.push_back({i, i + c.size});
        i += c.size;
      }
    });
  }
  Test test;
  Behavior behavior;
};

// Rewrites each piece as a whole; all rewritten text goes into one string of the store.
template <class Rewrite>
void rewrite_pieces(const std::vector<Piece>& in, std::vector<Piece>& out, TextStore& store, const Rewrite& rewrite) {
  std::string& text = store.emplace_back();
  const std::size_t first = out.size();
  std::vector<Range> ranges;
  for (const Piece& piece : in) {
    out.push_back(piece);
    const std::size_t begin = text.size();
    if (piece.id < 0) rewrite(piece, text);
    ranges.push_back({begin, text.size()});
  }
  for (std::size_t i = 0; i < ranges.size(); ++i)
    if (out[first + i].id < 0)
      out[first + i].text = std::string_view(text).substr(ranges[i].begin, ranges[i].end - ranges[i].begin);
}

// ByteLevel's prefix: a blank in front of every piece that does not begin with one.
struct PrefixSpace : PreTokenizer {
  void apply(const std::vector<Piece>& in, std::vector<Piece>& out, TextStore& store) const override {
    rewrite_pieces(in, out, store, [](const Piece& piece, std::string& text) {
      if (!piece.text.starts_with(' ')) text += ' ';
      text += piece.text;
    });
  }
};

// ByteLevel's alphabet, written out for the steps that follow it …
struct WriteBytes : PreTokenizer {
  void apply(const std::vector<Piece>& in, std::vector<Piece>& out, TextStore& store) const override {
    rewrite_pieces(in, out, store, [](const Piece& piece, std::string& text) {
      for (const char c : piece.text) append_utf8(text, byte_level_character(static_cast<unsigned char>(c)));
    });
  }
};

// … and read back.
struct ReadBytes : PreTokenizer {
  void apply(const std::vector<Piece>& in, std::vector<Piece>& out, TextStore& store) const override {
    rewrite_pieces(in, out, store, [](const Piece& piece, std::string& text) {
      text += byte_level_bytes(piece.text).value_or(std::string(piece.text));
    });
  }
};

struct Metaspace : PreTokenizer {
  void apply(const std::vector<Piece>& in, std::vector<Piece>& out, TextStore& store) const override {
    rewrite_pieces(in, out, store, [&](const Piece& piece, std::string& text) {
      const bool wanted = prefix == Prefix::always || (prefix == Prefix::first && piece.at_text_start);
      const bool there = piece.text.starts_with(' ') || piece.text.starts_with(replacement);
      if (wanted && (!there || even_before_space) && !piece.text.empty()) text += replacement;
      for (const char c : piece.text) c == ' ' ? text += replacement : text += c;
    });
  }
  std::string replacement{kEscapedSpace};
  Prefix prefix = Prefix::always;
  bool even_before_space = false;  // SentencePiece puts its prefix in front of any text
};

Behavior read_behavior(const Json& description, std::string_view where, Behavior otherwise) {
  const auto name = json_string(description, "behavior", where);
  if (!name) return otherwise;
  constexpr std::pair<std::string_view, Behavior> kNames[] = {
      {"Removed", Behavior::removed},
      {"Isolated", Behavior::isolated},
      {"MergedWithPrevious", Behavior::merged_with_previous},
      {"MergedWithNext", Behavior::merged_with_next},
      {"Contiguous", Behavior::contiguous},
  };
  for (const auto& [known, behavior] : kNames)
    if (*name == known) return behavior;
  fail(ErrorKind::format, where, ": behavior '", *name, "' is not one of Removed, Isolated, MergedWithPrevious, ",
       "MergedWithNext, Contiguous");
}

using Steps = std::vector<Made>;

Steps one(Made step) {
  Steps steps;
  steps.push_back(std::move(step));
  return steps;
}

Steps by_character(SplitByCharacter::Test test, Behavior behavior) {
  return one(std::make_unique<SplitByCharacter>(test, behavior));
}

Steps make_split(const Json& description, std::string_view where) {
  Pattern pattern = read_pattern(description, where);
  const bool invert = json_bool(description, "invert", where).value_or(false);
  const Behavior behavior = read_behavior(description, where, Behavior::isolated);
  return one(std::make_unique<SplitByPattern>(std::move(pattern).take_regex(), behavior, invert));
}

Steps make_byte_level(const Json& description, std::string_view where) {
  Steps steps;
  if (json_bool(description, "add_prefix_space", where).value_or(true))
    steps.push_back(std::make_unique<PrefixSpace>());
  if (json_bool(description, "use_regex", where).value_or(true))
    steps.push_back(std::make_unique<SplitByPattern>(Regex(kGpt2Pattern, where), Behavior::isolated, false));
  steps.push_back(std::make_unique<WriteBytes>());
  return steps;
}

Steps make_digits(const Json& description, std::string_view where) {
  const bool individual = json_bool(description, "individual_digits", where).value_or(false);
  return by_character(is_numeric, individual ? Behavior::isolated : Behavior::contiguous);
}

Steps make_punctuation(const Json& description, std::string_view where) {
  return by_character(is_punctuation, read_behavior(description, where, Behavior::isolated));
}

// Runs of word characters and runs of others.
Steps make_whitespace(const Json&, std::string_view) {
  Steps steps = by_character(is_white_space, Behavior::removed);
  steps.push_back(std::make_unique<SplitByCharacter>(is_word, Behavior::contiguous));
  return steps;
}

Steps make_whitespace_split(const Json&, std::string_view) { return by_character(is_white_space, Behavior::removed); }

Steps make_bert(const Json&, std::string_view) {
  Steps steps = by_character(is_white_space, Behavior::removed);
  steps.push_back(std::make_unique<SplitByCharacter>(is_punctuation, Behavior::isolated));
  return steps;
}

// Older files have add_prefix_space where newer ones have prepend_scheme.
Prefix read_prefix(const Json& description, std::string_view where) {
  const auto scheme = json_string(description, "prepend_scheme", where);
  if (!scheme) return json_bool(description, "add_prefix_space", where).value_or(true) ? Prefix::always : Prefix::never;
  if (*scheme == "always") return Prefix::always;
  if (*scheme == "first") return Prefix::first;
  if (*scheme == "never") return Prefix::never;
  fail(ErrorKind::format, where, ": prepend_scheme '", *scheme, "' is not one of always, first, never");
}

Steps make_metaspace(const Json& description, std::string_view where) {
  auto escape = std::make_unique<Metaspace>();
  escape->prefix = read_prefix(description, where);
  escape->replacement = json_string(description, "replacement", where).value_or(std::string(kEscapedSpace));
  const std::string replacement = escape->replacement;
  Steps steps = one(std::move(escape));
  if (json_bool(description, "split", where).value_or(true))
    steps.push_back(
        std::make_unique<SplitByPattern>(Regex::literal(replacement, where), Behavior::merged_with_next, false));
  return steps;
}

Steps make_steps(const Json& description, std::string_view where);

Steps make_sequence(const Json& description, std::string_view where) {
  Steps steps;
  for (const Json& part : json_array(description, "pretokenizers", where))
    for (Made& step : make_steps(part, where)) steps.push_back(std::move(step));
  return steps;
}

constexpr Component<Steps> kPreTokenizers[] = {
    {"ByteLevel", make_byte_level},    {"Split", make_split},           {"Digits", make_digits},
    {"Punctuation", make_punctuation}, {"Whitespace", make_whitespace}, {"WhitespaceSplit", make_whitespace_split},
    {"Metaspace", make_metaspace},     {"BertPreTokenizer", make_bert}, {"Sequence", make_sequence},
};

Steps make_steps(const Json& description, std::string_view where) {
  if (description.is_null()) return {};
  return component(kPreTokenizers, "pre-tokenizer", description, where)(description, where);
}

}  // namespace

void PreTokenizers::apply(std::vector<Piece>& pieces, TextStore& store) const {
  std::vector<Piece> next;
  for (const auto& step : steps) {
    next.clear();
    step->apply(pieces, next, store);
    pieces.swap(next);
  }
}

PreTokenizers make_pre_tokenizers(const Json& description, std::string_view where) {
  PreTokenizers made{.steps = make_steps(description, where)};
  const auto writes = [](const Made& step) { return dynamic_cast<const WriteBytes*>(step.get()) != nullptr; };
  const auto count = std::count_if(made.steps.begin(), made.steps.end(), writes);
  if (count == 0) return made;
  if (count > 1) fail(ErrorKind::unsupported, where, ": two ByteLevel pre-tokenizers in a row are not supported");
  made.byte_level = true;
  if (writes(made.steps.back())) {
    made.steps.pop_back();  // the usual case: nothing looks at the alphabet but the model
  } else {
    made.steps.push_back(std::make_unique<ReadBytes>());
  }
  return made;
}

std::unique_ptr<const PreTokenizer> sentencepiece_escape(Prefix prefix) {
  auto escape = std::make_unique<Metaspace>();
  escape->prefix = prefix;
  escape->even_before_space = true;
  return escape;
}

}  // namespace streamline
