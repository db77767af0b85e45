// SPDX-License-Identifier: Apache-2.0
// A command of the program as data; each is declared in the file of its name and listed in commands.def.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

namespace streamline::cli {

struct Command {
  std::string name, summary, examples;
  // Adds the command's options and returns what runs once they are parsed.
  std::function<void()> (*declare)(CLI::App& app);
};

#define COMMAND(name) const Command& name##_command();
#include "commands.def"
#undef COMMAND

}  // namespace streamline::cli
