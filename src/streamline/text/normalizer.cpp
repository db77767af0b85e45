// SPDX-License-Identifier: Apache-2.0
#include "streamline/text/normalizer.h"

#include <utf8proc.h>

#include <cstdlib>
#include <vector>

#include "streamline/base/error.h"
#include "streamline/text/json_pattern.h"
#include "streamline/text/unicode.h"

namespace streamline {
namespace {

using Made = std::unique_ptr<const Normalizer>;

struct Form : Normalizer {
  explicit Form(NormalForm which) : form(which) {}
  std::string apply(std::string_view text) const override { return normalize(text, form); }
  NormalForm form;
};

struct Sequence : Normalizer {
  std::string apply(std::string_view text) const override {
    std::string out(text);
    for (const auto& step : steps) out = step->apply(out);
    return out;
  }
  std::vector<Made> steps;
};

// Rewrites character by character.
struct Mapping : Normalizer {
  using Map = void (*)(char32_t, std::string&);
  explicit Mapping(Map function) : map(function) {}
  std::string apply(std::string_view text) const override {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size();) {
      const CodePoint c = code_point_at(text, i);
      map(c.value, out);
      i += c.size;
    }
    return out;
  }
  Map map;
};

void lowercase(char32_t c, std::string& out) {
  if (c == 0x130) {
    out += "i\u0307";  // the one letter whose lower case is two characters
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

void without_marks(char32_t c, std::string& out) {
  if (!is_mark(c)) append_utf8(out, c);
}

struct Strip : Normalizer {
  std::string apply(std::string_view text) const override {
    while (left && !text.empty() && is_white_space(code_point_at(text, 0).value))
      text.remove_prefix(code_point_at(text, 0).size);
    while (right && !text.empty() && is_white_space(last_code_point(text).value))
      text.remove_suffix(last_code_point(text).size);
    return std::string(text);
  }
  bool left = true, right = true;
};

struct Prepend : Normalizer {
  std::string apply(std::string_view text) const override { return text.empty() ? "" : prefix + std::string(text); }
  std::string prefix;
};

struct Replace : Normalizer {
  std::string apply(std::string_view text) const override { return pattern.replace(text, content); }
  Pattern pattern;
  std::string content;
  Replace(Pattern what, std::string by) : pattern(std::move(what)), content(std::move(by)) {}
};

struct ByteCharacters : Normalizer {
  std::string apply(std::string_view text) const override {
    std::string out;
    for (const char c : text) append_utf8(out, byte_level_character(static_cast<unsigned char>(c)));
    return out;
  }
};

template <NormalForm form>
Made make_form(const Json&, std::string_view) {
  return std::make_unique<Form>(form);
}

Made make_lowercase(const Json&, std::string_view) { return std::make_unique<Mapping>(lowercase); }
Made make_strip_accents(const Json&, std::string_view) { return std::make_unique<Mapping>(without_marks); }
Made make_byte_level(const Json&, std::string_view) { return std::make_unique<ByteCharacters>(); }

Made make_strip(const Json& description, std::string_view where) {
  auto made = std::make_unique<Strip>();
  made->left = json_bool(description, "strip_left", where).value_or(true);
  made->right = json_bool(description, "strip_right", where).value_or(true);
  return made;
}

Made make_prepend(const Json& description, std::string_view where) {
  auto made = std::make_unique<Prepend>();
  made->prefix = required_string(description, "prepend", where);
  return made;
}

Made make_replace(const Json& description, std::string_view where) {
  return std::make_unique<Replace>(read_pattern(description, where), required_string(description, "content", where));
}

Made make_sequence(const Json& description, std::string_view where) {
  auto made = std::make_unique<Sequence>();
  for (const Json& step : json_array(description, "normalizers", where))
    if (auto normalizer = make_normalizer(step, where)) made->steps.push_back(std::move(normalizer));
  return made;
}

constexpr Component<Made> kNormalizers[] = {
    {"NFC", make_form<NormalForm::c>},    {"NFD", make_form<NormalForm::d>}, {"NFKC", make_form<NormalForm::kc>},
    {"NFKD", make_form<NormalForm::kd>},  {"Lowercase", make_lowercase},     {"Strip", make_strip},
    {"StripAccents", make_strip_accents}, {"Prepend", make_prepend},         {"Replace", make_replace},
    {"ByteLevel", make_byte_level},       {"Sequence", make_sequence},
};

// Characters that no normalisation form touches and that join nothing before them: text may be cut in front of them.
bool inert(char32_t c, NormalForm form) {
  if (c < 0x80) return true;
  if (form == NormalForm::c && c < 0x300) return true;
  return c >= 0x4E00 && c <= 0x9FFF;
}

std::string normalize_span(std::string_view text, NormalForm form) {
  int options = UTF8PROC_STABLE;
  options |= form == NormalForm::c || form == NormalForm::kc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == NormalForm::kc || form == NormalForm::kd) options |= UTF8PROC_COMPAT;
  utf8proc_uint8_t* result = nullptr;
  const auto size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &result, static_cast<utf8proc_option_t>(options));
  if (size < 0) fail(ErrorKind::internal, "Unicode normalisation: ", utf8proc_errmsg(size));
  std::string out(reinterpret_cast<const char*>(result), static_cast<std::size_t>(size));
  std::free(result);
  return out;
}

}  // namespace

std::unique_ptr<const Normalizer> make_normalizer(const Json& description, std::string_view where) {
  if (description.is_null()) return nullptr;
  return component(kNormalizers, "normalizer", description, where)(description, where);
}

std::string normalize(std::string_view text, NormalForm form) {
  std::string out;
  out.reserve(text.size());
  std::size_t i = 0, safe = 0;  // [safe, i): characters seen, the last of which may still join the next
  while (i < text.size()) {
    CodePoint c = code_point_at(text, i);
    if (inert(c.value, form)) {
      out += text.substr(safe, i - safe);
      safe = i;
      i += c.size;
      continue;
    }
    // From the last inert character (which a mark may join) to the next one.
    while (i < text.size() && !inert((c = code_point_at(text, i)).value, form)) i += c.size;
    out += normalize_span(text.substr(safe, i - safe), form);
    safe = i;
  }
  return out += text.substr(safe);
}

}  // namespace streamline
