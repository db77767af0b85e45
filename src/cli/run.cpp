// SPDX-License-Identifier: Apache-2.0
#include "run.h"

#include <exception>
#include <new>
#include <sstream>

#include "options.h"
#include "streamline/base/error.h"
#include "streamline/report/report.h"

namespace streamline::cli {
namespace {

std::vector<const Command*> commands() {
  return {
#define COMMAND(name) &name##_command(),
#include "commands.def"
#undef COMMAND
  };
}

struct Chosen {
  CLI::App* app;
  std::function<Output()> run;
};

std::vector<Chosen> declare(CLI::App& program) {
  std::vector<Chosen> declared;
  for (const Command* command : commands()) {
    CLI::App* app = program.add_subcommand(command->name, command->summary);
    app->footer("Examples:\n" + command->examples);
    auto run = command->declare(*app);
    declared.push_back({app, std::move(run)});
  }
  return declared;
}

[[noreturn]] void fail_usage(const CLI::App& program, const CLI::ParseError& error) {
  const auto chosen = program.get_subcommands();
  const std::string help =
      chosen.empty() ? "streamline --help" : "streamline " + chosen.front()->get_name() + " --help";
  std::string what = error.what();
  for (char& letter : what)
    if (letter == '\n') letter = ' ';
  fail(ErrorKind::usage, what, "; see '", help, "'");
}

// libtorch's messages carry a stack trace below their first line.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

Answer run(const std::vector<std::string>& words) {
  remember_command_line(words);
  CLI::App program(
      "streamline: makes large language models smaller by taking out the layers they do not need and healing what that "
      "breaks.",
      "streamline");
  program.set_version_flag("--version", "streamline " + version());
  program.require_subcommand(1);
  const std::vector<Chosen> declared = declare(program);
  try {
    program.parse(std::vector<std::string>(words.rbegin(), words.rend() - 1));  // CLI11 wants the last word first
  } catch (const CLI::Success& success) {
    std::ostringstream text;
    program.exit(success, text, text);
    return {.output = {.json = nullptr, .text = text.str()}};
  } catch (const CLI::ParseError& error) {
    fail_usage(program, error);
  }
  for (const Chosen& choice : declared)
    if (choice.app->parsed()) return {.output = choice.run(), .as_json = choice.app->count("--json") > 0};
  fail(ErrorKind::internal, "no command ran");
}

Failure current_failure() {
  try {
    throw;
  } catch (const Error& error) {
    return {exit_status(error.kind()), error.what()};
  } catch (const c10::Error& error) {
    return {1, "libtorch: " + first_line(error.what_without_backtrace())};
  } catch (const std::bad_alloc&) {
    return {1, "out of memory; use a smaller --seq-len or a smaller batch, or close other programs"};
  } catch (const std::exception& error) {
    return {1, first_line(error.what())};
  }
}

}  // namespace streamline::cli
