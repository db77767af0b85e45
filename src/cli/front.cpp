// SPDX-License-Identifier: Apache-2.0
// The program as it is called. Loading libtorch takes a quarter of a second, so what needs none of it (`inspect`) is
// done here, and for all else the program that computes, beside this one, takes this process over.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "command.h"
#include "estimate.h"
#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/log.h"
#include "streamline/base/version.h"

namespace streamline::cli {
namespace {

constexpr const char* kComputes = "streamline-compute";

// Does not return.
void hand_over(const std::vector<std::string>& words) {
  const std::string program = (program_folder() / kComputes).string();
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  ::execv(program.c_str(), arguments.data());
  fail(ErrorKind::io, program, ": cannot start this part of the program: ", std::strerror(errno), "; install it again");
}

int inspect(const std::vector<std::string>& words) {
  remember_command_line(words);
  Program program("streamline", "", "streamline " + std::string(program_version()));
  const Command& command = inspect_command::command();
  Arguments arguments = program.add_command(command.name, command.summary, "Examples:\n" + command.examples);
  const auto run = command.declare(arguments);
  if (const auto answer = program.parse(words)) {
    print(*answer);
    return 0;
  }
  const Output output = run();
  print(arguments.given("--json") ? dump_json(output.json) : output.text);
  return output.status;
}

int guarded_front(const std::vector<std::string>& words) {
  try {
    const bool one_of_several = std::getenv("WORLD_SIZE") != nullptr;  // which say together what is wrong with that
    if (words.size() < 2 || words[1] != "inspect" || one_of_several) hand_over(words);
    return inspect(words);
  } catch (const Error& error) {
    std::fprintf(stderr, "streamline: %s\n", error.what());
    return exit_status(error.kind());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "streamline: %s\n", error.what());
    return 1;
  }
}

}  // namespace

// It measures what computes.
Json estimate(const std::string&, const EstimateOptions&, const CommonOptions&) {
  hand_over(command_line());
  return {};
}

}  // namespace streamline::cli

int main(int argc, char** argv) {
  // No handler of interrupts yet: nothing is written here, and what takes over brings its own.
  return streamline::cli::guarded_front({argv, argv + argc});
}
