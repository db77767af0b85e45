// SPDX-License-Identifier: Apache-2.0
// The words of the command line: commands, and what each of them takes. CLI11 reads them; its templates are compiled in
// arguments.cpp alone, where every command would spend ten seconds on them.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace CLI {  // NOLINT(readability-identifier-naming): it is named so
class App;
}

namespace streamline::cli {

// The numbers that may be given, both ends among them. `name` is what --help says; empty: the ends themselves.
struct Limits {
  double least, most;
  std::string_view name = {};
};
inline constexpr Limits kPositive{std::numeric_limits<double>::min(), std::numeric_limits<double>::max(), "POSITIVE"};
inline constexpr Limits kNonNegative{0, std::numeric_limits<double>::max(), "NONNEGATIVE"};

struct Rules {
  bool required = false;
  bool shows_default = true;  // in --help; a default that may not be given, as 0 for "chosen", is never shown
  std::optional<Limits> limits = {};
  std::vector<std::string> choices = {};  // the words that may be given; none: any
  bool any_case = false;                  // taken as small letters
};

// Options of one command by name without dashes, each with the words it was given; a flag has "true".
using GivenOptions = std::vector<std::pair<std::string, std::vector<std::string>>>;

// What one command takes. Names are "--long", "-s,--long", or a word without dashes for an argument that stands by
// itself. A value keeps its default until the words are parsed; it must live until then.
class Arguments {
 public:
  explicit Arguments(CLI::App& app) : app_(&app) {}

  void add(const std::string& names, std::string& value, const std::string& help, const Rules& rules = {});
  void add(const std::string& names, std::int64_t& value, const std::string& help, const Rules& rules = {});
  void add(const std::string& names, std::uint64_t& value, const std::string& help, const Rules& rules = {});
  void add(const std::string& names, double& value, const std::string& help, const Rules& rules = {});
  // With commas between them, blanks around these are left out, or the option once for each; of an argument without
  // dashes, one word after the other.
  void add(const std::string& names, std::vector<std::string>& values, const std::string& help);
  void add(const std::string& names, std::vector<std::int64_t>& values, const std::string& help);
  // Also with blanks between them, up to the next option; arguments without dashes must stand in front of it.
  void add_several(const std::string& names, std::vector<std::string>& values, const std::string& help);
  // The option once for each: whatever stands in it, commas too, is one text.
  void add_texts(const std::string& names, std::vector<std::string>& values, const std::string& help);
  // Hands the word over instead of storing it; `value` is what --help says of it, "INT=8". `alone`: the word that the
  // option stands for without one; empty: it needs one.
  void add(const std::string& names, const std::function<void(const std::string& word)>& take, const std::string& help,
           const std::string& value, const std::string& alone = {});
  void flag(const std::string& names, bool& value, const std::string& help);

  // A command of this command, of which each command line names one.
  Arguments action(const std::string& name, const std::string& summary, const std::string& footer) const;

  // The same command; what is added here stands under `title` in --help.
  Arguments group(const std::string& title) const;

  bool has(const std::string& name) const;  // declared
  bool has_actions() const;
  bool given(const std::string& name) const;  // on the command line, also of its action, once that is parsed
  GivenOptions given() const;                 // all that are
  bool chosen() const;                        // the command is the one on the command line

 private:
  CLI::App* app_;
  std::string group_ = {};
};

// Options that mean something only where something else was asked for.
struct Meaning {
  std::vector<std::string> options;  // "--spread"
  bool means = false;                // something, beside what else is given
  std::string goes_with;             // what they would mean something beside: "--scope alpha"
};
// An option that means nothing is a mistake, not a wish to be passed over. Errors: usage for the first that is given.
void check_meaning(const Arguments& arguments, const std::vector<Meaning>& meanings);

// A program: of several commands, of which each command line names one, or of none.
class Program {
 public:
  Program(const std::string& name, const std::string& about, const std::string& version);
  ~Program();

  Arguments arguments();  // of a program without commands
  Arguments add_command(const std::string& name, const std::string& summary, const std::string& footer);

  // Fills the values, of the chosen command if there are commands; words[0] is the program's own name. Returns the
  // answer to a question for help or the version, which is all there is to do then. Errors: usage.
  std::optional<std::string> parse(const std::vector<std::string>& words);

 private:
  std::unique_ptr<CLI::App> app_;
};

}  // namespace streamline::cli
