// SPDX-License-Identifier: Apache-2.0
// Patterns of tokenizer and task files: written for Oniguruma, matched by PCRE2 (Unicode, look-ahead, compiled to
// machine code).
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace streamline {

struct Range {
  std::size_t begin = 0, end = 0;  // bytes
};

class Regex {
 public:
  // Errors: format when the pattern is not valid, naming `where`.
  Regex(std::string_view pattern, std::string_view where);
  // Matches exactly this text.
  static Regex literal(std::string_view text, std::string_view where);
  // `text` with every match replaced. `replacement` in PCRE2's extended spelling: $1 is a group, \u and
  // \l change the case of what follows, \U…\E of more. Errors: format, naming `where` of the
  // constructor, also when something is not valid UTF-8.
  std::string replace(std::string_view text, std::string_view replacement) const;
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  // What one thread needs to match; cheap, but not free, to make.
  class Matcher {
   public:
    explicit Matcher(const Regex& regex);
    ~Matcher();
    Matcher(const Matcher&) = delete;
    Matcher& operator=(const Matcher&) = delete;
    // Appends the matches in valid UTF-8, from left to right, not overlapping. Errors: format when matching needs
    // more steps or memory than a sane pattern does.
    void find_all(std::string_view text, std::vector<Range>& matches);

   private:
    bool find(std::string_view text, std::size_t from, Range& match);
    struct State;
    std::unique_ptr<State> state_;
  };

 private:
  struct Code;
  std::unique_ptr<Code> code_;
};

}  // namespace streamline
