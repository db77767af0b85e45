// SPDX-License-Identifier: Apache-2.0
#include "arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cmath>
#include <sstream>

#include "streamline/base/error.h"
#include "streamline/base/nearest.h"
#include "streamline/base/number_text.h"

namespace streamline::cli {
namespace {

// What a word is refused with, without the option's name: in_words() puts it in front.
std::string takes(const std::string& what, const std::string& word) { return "takes " + what + "; got '" + word + "'"; }

std::string check_number(const std::string& word) {
  double value = 0;  // CLI11 takes "nan" and "inf" for numbers, and its ranges let "nan" through
  return CLI::detail::lexical_cast(word, value) && std::isfinite(value) ? "" : takes("a number", word);
}

std::string check_integer(const std::string& word) {
  std::int64_t value = 0;
  return CLI::detail::lexical_cast(word, value) ? "" : takes("an integer", word);
}

std::string check_unsigned(const std::string& word) {
  std::uint64_t value = 0;  // C's conversion takes "-3" for 2 to the 64th less 3
  return !word.starts_with('-') && CLI::detail::lexical_cast(word, value) ? "" : takes("an integer, 0 or more", word);
}

// A bound that is named has no upper end worth telling: CLI11 would print it with 309 digits.
CLI::Validator within(const Limits& limits, bool whole) {
  const double least = whole && limits.least > 0 ? std::max(limits.least, 1.0) : limits.least;
  std::string expected = whole ? "an integer, " : "";
  if (limits.name.empty())
    expected += general(least, 10) + " to " + general(limits.most, 10);
  else if (limits.most < std::numeric_limits<double>::max())
    expected += limits.name;
  else
    expected += least == 0 ? "0 or more" : whole ? "1 or more" : "more than 0";
  const auto check = [least, most = limits.most, expected, whole](const std::string& word) {
    double value = 0;
    const bool number = (whole ? check_integer : check_number)(word).empty() && CLI::detail::lexical_cast(word, value);
    return number && value >= least && value <= most ? std::string() : takes(expected, word);
  };
  if (!limits.name.empty()) return CLI::Validator(check, std::string(limits.name));
  return CLI::Validator(check, std::string(whole ? "INT" : "FLOAT") + " in [" + general(least, 10) + " - " +
                                   general(limits.most, 10) + "]");
}

CLI::Validator one_of(const std::vector<std::string>& choices) {
  std::string list;
  for (const std::string& choice : choices) list += (list.empty() ? "" : ", ") + choice;
  const auto check = [choices, list](const std::string& word) {
    const bool known = std::ranges::find(choices, word) != choices.end();
    return known ? "" : takes("one of " + list, word) + nearest_text(word, choices);
  };
  return CLI::Validator(check, CLI::IsMember(choices).get_description());
}

// "copa, piqa" in quotes is two names without blanks.
std::string without_blanks(const std::string& word) {
  const std::size_t first = word.find_first_not_of(" \t");
  if (first == std::string::npos) throw CLI::ValidationError("takes names with commas between them; one is empty");
  return word.substr(first, word.find_last_not_of(" \t") - first + 1);
}

std::string in_small_letters(std::string word) {
  std::ranges::transform(word, word.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return word;
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
  if (rules.any_case) option->transform(in_small_letters);
  if (!rules.choices.empty()) check(option, one_of(rules.choices));
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

// The command that the words chose, or the program, and what stands before its options.
const CLI::App& chosen_app(const CLI::App& program, std::string& line) {
  const CLI::App* app = &program;
  line = program.get_name();
  for (auto chosen = app->get_subcommands(); !chosen.empty(); chosen = app->get_subcommands()) {
    app = chosen.front();
    line += " " + app->get_name();
  }
  return *app;
}

[[noreturn]] void fail_option(const CLI::App& app, const std::string& word, const std::string& line) {
  const std::string given = word.substr(0, word.find('='));
  std::vector<std::string> known;
  for (const CLI::Option* option : app.get_options())
    known.insert(known.end(), option->get_lnames().begin(), option->get_lnames().end());
  const std::string bare = given.substr(std::min(given.size(), given.find_first_not_of('-')));
  fail(ErrorKind::usage, "there is no option '", given, "'", nearest_text(bare, known, "--"), "; see '", line,
       " --help'");
}

// Words that mean nothing here, told before what else is wrong, which may come of them.
void check_words(const CLI::App& app, const std::string& line) {
  const std::vector<std::string> words = app.remaining();
  if (words.empty()) return;
  std::vector<std::string> commands;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    commands.push_back(command->get_name());
  const auto is_option = [](const std::string& word) { return word.starts_with('-'); };
  const auto word = std::ranges::find_if_not(words, is_option), option = std::ranges::find_if(words, is_option);
  // Behind a command that there is none of all words are left over.
  if (!commands.empty() && word != words.end())
    fail(ErrorKind::usage, "there is no command '", *word, "'", nearest_text(*word, commands), "; see '", line,
         " --help'");
  if (option != words.end()) fail_option(app, *option, line);
  fail(ErrorKind::usage, "'", *word, "' is a word too many; see '", line, " --help'");
}

// CLI11's message as ours are: "--cut takes an integer; got 'four'".
std::string in_words(const CLI::ParseError& error) {
  std::string what = error.what();
  std::ranges::replace(what, '\n', ' ');
  const std::size_t colon = what.find(": ");
  if (colon == std::string::npos) return what;
  const std::string name = what.substr(0, colon), rest = what.substr(colon + 2);
  if (error.get_name() == "ArgumentMismatch")
    return name + (rest.ends_with("missing") ? " needs a value" : " is given more than once");
  return rest.starts_with("takes ") ? name + " " + rest : what;
}

}  // namespace

void Arguments::add(const std::string& names, std::string& value, const std::string& help, const Rules& rules) {
  set_up(app_->add_option(names, value, help), group_, rules);
}

void Arguments::add(const std::string& names, std::int64_t& value, const std::string& help, const Rules& rules) {
  CLI::Option* option = app_->add_option(names, value, help);
  set_up(option, group_, rules);
  option->check(check_integer);
}

void Arguments::add(const std::string& names, std::uint64_t& value, const std::string& help, const Rules& rules) {
  CLI::Option* option = app_->add_option(names, value, help);
  set_up(option, group_, rules);
  option->check(check_unsigned);
}

void Arguments::add(const std::string& names, double& value, const std::string& help, const Rules& rules) {
  CLI::Option* option = app_->add_option(names, value, help);
  set_up(option, group_, rules, false);
  option->check(check_number);
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
  option->check(check_integer);
  show_values(option, ",...");
}

void Arguments::add_several(const std::string& names, std::vector<std::string>& values, const std::string& help) {
  CLI::Option* option = app_->add_option(names, values, help)->delimiter(',')->transform(without_blanks);
  set_up(option, group_, {});
  show_values(option, " ...");
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
bool Arguments::has_actions() const {
  return !app_->get_subcommands([](const CLI::App*) { return true; }).empty();
}
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
    std::string line;
    check_words(chosen_app(*app_, line), line);
    fail(ErrorKind::usage, in_words(error), "; see '", line, " --help'");
  }
  return std::nullopt;
}

}  // namespace streamline::cli
