// SPDX-License-Identifier: Apache-2.0
// A command of the program as data; each is declared in the file of its name and listed in commands.def.
#pragma once

#include <functional>
#include <string>

#include "arguments.h"
#include "streamline/base/json.h"

namespace streamline::cli {

// What a command found: for machines, and for people.
struct Output {
  Json json;
  std::string text;
  int status = 0;  // the program's exit status: 3 when a --gate was not passed
};

struct Command {
  std::string name, summary, examples;
  // Adds the command's options and returns what runs once they are parsed.
  std::function<Output()> (*declare)(Arguments& arguments);
  bool in_ranks = false;  // several processes share its work where they are started so (docs/ranks.md)
};

// In the order of commands.def.
#define COMMAND(name)         \
  namespace name##_command {  \
    const Command& command(); \
  }
#include "commands.def"
#undef COMMAND

}  // namespace streamline::cli
