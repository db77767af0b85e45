// SPDX-License-Identifier: Apache-2.0
// The program: runs one command, prints what it found, turns errors into one line and an exit status.
#include <cstdio>

#include "options.h"
#include "run.h"
#include "streamline/base/log.h"

namespace streamline::cli {
namespace {

int guarded(const std::vector<std::string>& words) {
  try {
    const Answer answer = run(words);
    print(answer.as_json ? dump_json(answer.output.json) : answer.output.text);
    return answer.output.status;
  } catch (...) {
    const Failure failure = current_failure();
    std::fprintf(stderr, "streamline: %s\n", failure.message.c_str());
    return failure.status;
  }
}

}  // namespace
}  // namespace streamline::cli

int main(int argc, char** argv) {
  const streamline::InterruptHandler interrupts;
  return streamline::cli::guarded({argv, argv + argc});
}
