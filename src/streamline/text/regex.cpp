// SPDX-License-Identifier: Apache-2.0
#include "streamline/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "streamline/base/error.h"
#include "streamline/text/unicode.h"

namespace streamline {
namespace {

constexpr std::size_t kFirstJitStack = 32UL << 10, kLargestJitStack = 64UL << 20;
constexpr std::uint32_t kStepLimit = 10'000'000;
// What Oniguruma's \s, \w and \h mean; PCRE2's \s also takes U+180E, its \w leaves marks out, its \h is a blank.
constexpr std::string_view kSpace =
    "\\t-\\r\\x20\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}"
    "\\x{202F}\\x{205F}\\x{3000}";
constexpr std::string_view kWord =
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24B6}-\\x{24E9}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}"
    "\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}";
constexpr std::string_view kHexadecimal = "0-9A-Fa-f";

std::string_view class_of(char letter) {
  switch (letter) {
    case 's':
    case 'S':
      return kSpace;
    case 'w':
    case 'W':
      return kWord;
    case 'h':
    case 'H':
      return kHexadecimal;
    default:
      return {};
  }
}

// Spells the classes out. A negated class inside brackets ([^\S\r]) cannot be, and stays what PCRE2 takes it for.
std::string for_pcre2(std::string_view pattern) {
  std::string out;
  bool in_brackets = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '\\' || i + 1 == pattern.size()) {
      if (pattern[i] == '[') in_brackets = true;
      if (pattern[i] == ']') in_brackets = false;
      out += pattern[i];
      continue;
    }
    const char letter = pattern[++i];
    const std::string_view members = class_of(letter);
    const bool negated = letter >= 'A' && letter <= 'Z';
    if (members.empty() || (in_brackets && negated)) {
      (out += '\\') += letter;
    } else if (in_brackets) {
      out += members;
    } else {
      ((out += negated ? "[^" : "[") += members) += ']';
    }
  }
  return out;
}

std::string message_of(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

PCRE2_SPTR units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;
  bool jit = false;
  std::string where;
  ~Code() { pcre2_code_free(code); }
};

Regex::Regex(std::string_view pattern, std::string_view where) : code_(std::make_unique<Code>()) {
  const std::string translated = for_pcre2(pattern);
  int error = 0;
  PCRE2_SIZE position = 0;
  // In Oniguruma's syntax ^ and $ always match at line ends.
  constexpr std::uint32_t kOptions = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  code_->where = where;
  code_->code = pcre2_compile(units(translated), translated.size(), kOptions, &error, &position, nullptr);
  if (code_->code == nullptr)
    fail(ErrorKind::format, where, ": pattern '", pattern, "' is not a regular expression: ", message_of(error));
  code_->jit = pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE) == 0;
}

Regex Regex::literal(std::string_view text, std::string_view where) {
  std::string escaped;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x80 && is_punctuation(static_cast<unsigned char>(c))) escaped += '\\';
    escaped += c;
  }
  return Regex(escaped, where);
}

std::string Regex::replace(std::string_view text, std::string_view replacement) const {
  std::string out(text.size() + replacement.size() + 64, '\0');
  for (bool again = true;; again = false) {
    PCRE2_SIZE length = out.size();
    const int result = pcre2_substitute(
        code_->code, units(text), text.size(), 0,
        PCRE2_SUBSTITUTE_GLOBAL | PCRE2_SUBSTITUTE_EXTENDED | PCRE2_SUBSTITUTE_OVERFLOW_LENGTH, nullptr, nullptr,
        units(replacement), replacement.size(), reinterpret_cast<PCRE2_UCHAR*>(out.data()), &length);
    if (result >= 0) {
      out.resize(length);
      return out;
    }
    if (result != PCRE2_ERROR_NOMEMORY || !again)
      fail(ErrorKind::format, code_->where, ": replacing by '", replacement, "' fails: ", message_of(result));
    out.resize(length);
  }
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

struct Regex::Matcher::State {
  const Code& code;
  pcre2_match_data* data;
  pcre2_match_context* context;
  pcre2_jit_stack* stack = nullptr;  // made when the 32 KiB that PCRE2 brings do not suffice
  ~State() {
    if (stack != nullptr) pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
};

Regex::Matcher::Matcher(const Regex& regex)
    : state_(new State{*regex.code_, pcre2_match_data_create_from_pattern(regex.code_->code, nullptr),
                       pcre2_match_context_create(nullptr)}) {
  pcre2_set_match_limit(state_->context, kStepLimit);
}

Regex::Matcher::~Matcher() = default;

bool Regex::Matcher::find(std::string_view text, std::size_t from, Range& match) {
  const auto run = [&] {
    if (state_->code.jit)
      return pcre2_jit_match(state_->code.code, units(text), text.size(), from, 0, state_->data, state_->context);
    return pcre2_match(state_->code.code, units(text), text.size(), from, PCRE2_NO_UTF_CHECK, state_->data,
                       state_->context);
  };
  int result = run();
  if (result == PCRE2_ERROR_JIT_STACKLIMIT && state_->stack == nullptr) {
    state_->stack = pcre2_jit_stack_create(kFirstJitStack, kLargestJitStack, nullptr);
    pcre2_jit_stack_assign(state_->context, nullptr, state_->stack);
    result = run();
  }
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result < 0) fail(ErrorKind::format, state_->code.where, ": pattern gives up on this text: ", message_of(result));
  const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(state_->data);
  match = {offsets[0], offsets[1]};
  // \K can put the start of a match behind its end; no tokenizer needs that.
  if (match.begin > match.end || match.begin < from)
    fail(ErrorKind::unsupported, state_->code.where, ": a pattern that moves the start of its match is not supported");
  return true;
}

void Regex::Matcher::find_all(std::string_view text, std::vector<Range>& matches) {
  std::size_t from = 0, last_end = 0;
  Range match;
  while (from <= text.size() && find(text, from, match)) {
    const bool repeats = match.begin == match.end && match.end == last_end && !matches.empty();
    if (!repeats) matches.push_back(match);
    last_end = match.end;
    from = match.end;
    if (match.begin == match.end) from += from < text.size() ? code_point_at(text, from).size : 1;
  }
}

}  // namespace streamline
