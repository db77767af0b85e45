// SPDX-License-Identifier: Apache-2.0
#include "arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <numeric>
#include <sstream>

#include "streamline/base/error.h"

namespace streamline::cli {
namespace {

// A bound that is named has no upper end worth telling: CLI11 would print it with 309 digits.
CLI::Validator at_least(const Limits& limits, bool whole) {
  const std::string expected = limits.least == 0 ? "0 or more" : whole ? "1 or more" : "more than 0";
  const double least = whole && limits.least > 0 ? 1 : limits.least;
  const auto check = [least, most = limits.most, expected](const std::string& word) {
    double value = 0;
    const bool fits = CLI::detail::lexical_cast(word, value) && value >= least && value <= most;
    return fits ? std::string() : word + "; expected " + expected;
  };
  return CLI::Validator(check, std::string(limits.name));
}

CLI::Validator within(const Limits& limits, bool whole) {
  if (!limits.name.empty()) return at_least(limits, whole);
  if (whole) return CLI::Range(static_cast<std::int64_t>(limits.least), static_cast<std::int64_t>(limits.most));
  return CLI::Range(limits.least, limits.most);
}

// "copa, piqa" in quotes is two names without blanks.
std::string without_blanks(const std::string& word) {
  const std::size_t first = word.find_first_not_of(" \t");
  if (first == std::string::npos) throw CLI::ValidationError("an empty name in a list with commas");
  return word.substr(first, word.find_last_not_of(" \t") - first + 1);
}

void check(CLI::Option* option, const CLI::Validator& validator) {
  std::string value = option->get_default_str();
  if (!validator(value).empty()) option->default_str("");
  option->check(validator);
}

void set_up(CLI::Option* option, const std::string& group, const Rules& rules, bool whole = true) {
  option->required(rules.required);
  if (!group.empty()) option->group(group);
  if (rules.shows_default) option->capture_default_str();
  if (rules.limits) check(option, within(*rules.limits, whole));
  if (!rules.choices.empty()) check(option, CLI::IsMember(rules.choices));
}

// In --help of an option; CLI11's "TEXT ..." reads as words with blanks between them.
void show_values(CLI::Option* option, const char* more) {
  const std::string given = option->get_default_str();
  option->option_text(option->get_type_name() + more + (given.empty() || given == "[]" ? "" : "=" + given));
}

CLI::App* add_named_command(CLI::App& of, const std::string& name, const std::string& summary,
                            const std::string& footer) {
  of.require_subcommand(1);
  CLI::App* command = of.add_subcommand(name, summary);
  command->footer(footer);
  return command;
}

// Levenshtein's distance.
std::size_t edits(std::string_view one, std::string_view other) {
  std::vector<std::size_t> row(other.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < one.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < other.size(); ++j) {
      const std::size_t changed = diagonal + (one[i] == other[j] ? 0 : 1);
      diagonal = std::exchange(row[j + 1], std::min({changed, row[j] + 1, row[j + 1] + 1}));
    }
  }
  return row.back();
}

// A word where a command should be is named, with the command that is most like it.
void check_command(const CLI::App& program) {
  const CLI::App* app = &program;
  std::string line = program.get_name();
  for (auto chosen = app->get_subcommands(); !chosen.empty(); chosen = app->get_subcommands()) {
    app = chosen.front();
    line += " " + app->get_name();
  }
  const auto commands = app->get_subcommands([](const CLI::App*) { return true; });
  const std::vector<std::string> words = app->remaining();
  const auto word = std::ranges::find_if(words, [](const std::string& text) { return !text.starts_with('-'); });
  if (commands.empty() || word == words.end()) return;
  const CLI::App* nearest = *std::ranges::min_element(
      commands, {}, [&](const CLI::App* command) { return edits(*word, command->get_name()); });
  const bool alike = edits(*word, nearest->get_name()) <= std::max<std::size_t>(1, word->size() / 3);
  fail(ErrorKind::usage, "there is no command '", *word, "'",
       alike ? "; the nearest is '" + nearest->get_name() + "'" : "", "; see '", line, " --help'");
}

[[noreturn]] void fail_usage(const CLI::App& program, const CLI::ParseError& error) {
  std::string command;
  for (auto chosen = program.get_subcommands(); !chosen.empty(); chosen = chosen.front()->get_subcommands())
    command += " " + chosen.front()->get_name();
  std::string what = error.what();
  for (char& letter : what)
    if (letter == '\n') letter = ' ';
  fail(ErrorKind::usage, what, "; see '", program.get_name(), command, " --help'");
}

}  // namespace

void Arguments::add(const std::string& names, std::string& value, const std::string& help, const Rules& rules) {
  set_up(app_->add_option(names, value, help), group_, rules);
}

void Arguments::add(const std::string& names, std::int64_t& value, const std::string& help, const Rules& rules) {
  set_up(app_->add_option(names, value, help), group_, rules);
}

void Arguments::add(const std::string& names, std::uint64_t& value, const std::string& help, const Rules& rules) {
  set_up(app_->add_option(names, value, help), group_, rules);
}

void Arguments::add(const std::string& names, double& value, const std::string& help, const Rules& rules) {
  set_up(app_->add_option(names, value, help), group_, rules, false);
}

void Arguments::add(const std::string& names, std::vector<std::string>& values, const std::string& help) {
  CLI::Option* option = app_->add_option(names, values, help)->delimiter(',');
  // Else "--tasks piqa MODEL" would take the model for a task.
  if (names.starts_with('-')) option->allow_extra_args(false)->transform(without_blanks);
  set_up(option, group_, {});
  if (names.starts_with('-')) show_values(option, ",...");
}

void Arguments::add(const std::string& names, std::vector<std::int64_t>& values, const std::string& help) {
  CLI::Option* option = app_->add_option(names, values, help)->delimiter(',')->allow_extra_args(false);
  set_up(option, group_, {});
  show_values(option, ",...");
}

void Arguments::add_texts(const std::string& names, std::vector<std::string>& values, const std::string& help) {
  CLI::Option* option = app_->add_option(names, values, help)->allow_extra_args(false);
  set_up(option, group_, {});
  show_values(option, "");
}

void Arguments::add(const std::string& names, const std::function<void(const std::string& word)>& take,
                    const std::string& help, const std::string& value, const std::string& alone) {
  CLI::Option* option = app_->add_option_function<std::string>(names, take, help);
  set_up(option, group_, {});
  option->option_text(value);
  if (!alone.empty()) option->expected(0, 1)->default_str(alone);
}

void Arguments::flag(const std::string& names, bool& value, const std::string& help) {
  CLI::Option* option = app_->add_flag(names, value, help);
  if (!group_.empty()) option->group(group_);
}

Arguments Arguments::action(const std::string& name, const std::string& summary, const std::string& footer) const {
  return Arguments(*add_named_command(*app_, name, summary, footer));
}

Arguments Arguments::group(const std::string& title) const {
  Arguments grouped(*this);
  grouped.group_ = title;
  return grouped;
}

bool Arguments::has(const std::string& name) const { return app_->get_option_no_throw(name) != nullptr; }
bool Arguments::given(const std::string& name) const {
  for (const CLI::App* action : app_->get_subcommands())
    if (action->get_option_no_throw(name) != nullptr) return action->count(name) > 0;
  return app_->count(name) > 0;
}

GivenOptions Arguments::given() const {
  GivenOptions all;
  for (const CLI::Option* option : app_->get_options())
    if (option->count() > 0 && option->get_single_name() != "help") {
      std::string name = option->get_single_name();
      if (option->get_positional())
        std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
      all.emplace_back(name, option->results());
    }
  return all;
}

bool Arguments::chosen() const { return app_->parsed(); }

void check_meaning(const Arguments& arguments, const std::vector<Meaning>& meanings) {
  for (const Meaning& meaning : meanings)
    for (const std::string& option : meaning.options)
      if (!meaning.means && arguments.given(option)) fail(ErrorKind::usage, option, " goes with ", meaning.goes_with);
}

Program::Program(const std::string& name, const std::string& about, const std::string& version)
    : app_(std::make_unique<CLI::App>(about, name)) {
  if (!version.empty()) app_->set_version_flag("--version", version);
}

Program::~Program() = default;

Arguments Program::arguments() { return Arguments(*app_); }

Arguments Program::add_command(const std::string& name, const std::string& summary, const std::string& footer) {
  return Arguments(*add_named_command(*app_, name, summary, footer));
}

std::optional<std::string> Program::parse(const std::vector<std::string>& words) {
  try {
    app_->parse(std::vector<std::string>(words.rbegin(), words.rend() - 1));  // CLI11 wants the last word first
  } catch (const CLI::Success& success) {
    std::ostringstream text;
    app_->exit(success, text, text);
    return text.str();
  } catch (const CLI::ParseError& error) {
    check_command(*app_);
    fail_usage(*app_, error);
  }
  return std::nullopt;
}

}  // namespace streamline::cli
