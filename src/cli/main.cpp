// SPDX-License-Identifier: Apache-2.0
// The program: runs one command, prints what it found, turns errors into one line and an exit status; of several
// ranks, the first prints.
#include <cstdio>

#include "options.h"
#include "rank_group.h"
#include "run.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"

namespace streamline::cli {
namespace {

int guarded(const std::vector<std::string>& words) {
  try {
    join_ranks();
    const Answer answer = run(words);
    if (ranks().first()) print(answer.as_json ? dump_json(answer.output.json) : answer.output.text);
    return ranks().finish(answer.output.status);
  } catch (...) {
    const Failure failure = current_failure();
    const bool interrupted = failure.status == exit_status(ErrorKind::interrupted);
    const std::string line = ranks().fail_together(interrupted, failure.message);
    if (!line.empty()) std::fprintf(stderr, "streamline: %s\n", line.c_str());
    const bool of_another = interrupted && !line.empty() && line != failure.message;
    return of_another ? exit_status(ErrorKind::io) : failure.status;
  }
}

}  // namespace
}  // namespace streamline::cli

int main(int argc, char** argv) {
  const streamline::InterruptHandler interrupts;
  return streamline::cli::guarded({argv, argv + argc});
}
