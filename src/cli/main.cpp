// SPDX-License-Identifier: Apache-2.0
// The program: reads the command line, runs one command, turns errors into one line and an exit status.
#include <cstdio>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "command.h"
#include "options.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
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
  std::function<void()> run;
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

void print_failure(const std::string& message) { std::fprintf(stderr, "streamline: %s\n", message.c_str()); }

int usage_failure(const CLI::App& program, const CLI::ParseError& error) {
  const auto chosen = program.get_subcommands();
  const std::string help =
      chosen.empty() ? "streamline --help" : "streamline " + chosen.front()->get_name() + " --help";
  std::string what = error.what();
  for (char& letter : what)
    if (letter == '\n') letter = ' ';
  print_failure(what + "; see '" + help + "'");
  return exit_status(ErrorKind::usage);
}

int run(int argc, char** argv) {
  CLI::App program(
      "streamline: makes large language models smaller by taking out the layers they do not need and healing what that "
      "breaks.",
      "streamline");
  program.set_version_flag("--version", "streamline " + version());
  program.require_subcommand(1);
  program.failure_message([](const CLI::App*, const CLI::Error& error) { return std::string(error.what()); });
  const std::vector<Chosen> declared = declare(program);
  try {
    program.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return program.exit(success);
  } catch (const CLI::ParseError& error) {
    return usage_failure(program, error);
  }
  for (const Chosen& choice : declared)
    if (choice.app->parsed()) choice.run();
  return 0;
}

// libtorch's messages carry a stack trace below their first line.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

int guarded(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const Error& error) {
    print_failure(error.what());
    return exit_status(error.kind());
  } catch (const c10::Error& error) {
    print_failure("libtorch: " + first_line(error.what_without_backtrace()));
  } catch (const std::bad_alloc&) {
    print_failure("out of memory; use a smaller --seq-len or a smaller batch, or close other programs");
  } catch (const std::exception& error) {
    print_failure(first_line(error.what()));
  }
  return 1;
}

}  // namespace
}  // namespace streamline::cli

int main(int argc, char** argv) {
  streamline::install_interrupt_handler();
  streamline::cli::remember_command_line(argc, argv);
  return streamline::cli::guarded(argc, argv);
}
