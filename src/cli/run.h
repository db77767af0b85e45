// SPDX-License-Identifier: Apache-2.0
// The whole program as a function of its words; main() and the Python module are thin around it.
#pragma once

#include <string>
#include <vector>

#include "command.h"

namespace streamline::cli {

// Parses and runs one command; words[0] is the program's own name. A question for help or the version is answered in
// `text`, with no JSON. Errors: usage for words that make no sense; whatever the command throws.
struct Answer {
  Output output;
  bool as_json = false;  // --json was given
};
Answer run(const std::vector<std::string>& words);

// What an exception is to a user: one line, and the exit status. To be called inside a catch block.
struct Failure {
  int status = 1;
  std::string message;
};
Failure current_failure();

}  // namespace streamline::cli
