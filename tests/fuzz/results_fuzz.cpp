// SPDX-License-Identifier: Apache-2.0
// Any bytes as a file of results: an Error, or answers that are stable against themselves. The first byte is not part
// of the file; it chooses its name.
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>

#include "streamline/base/error.h"
#include "streamline/tasks/choice_items.h"
#include "streamline/tasks/results_files.h"
#include "streamline/tasks/same_questions.h"
#include "streamline/tasks/stability_report.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace streamline;
  if (size == 0) return 0;
  // One file a process, in memory where the system has such a folder.
  const std::string folder = std::filesystem::exists("/dev/shm") ? "/dev/shm" : "/tmp";
  const std::string path =
      folder + "/results_fuzz_" + std::to_string(::getpid()) + (data[0] == 'j' ? ".jsonl" : ".json");
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(data) + 1, static_cast<std::streamsize>(size - 1));
  try {
    const std::vector<TaskAnswers> sets = read_results(path).sets;
    const StabilityReport report =
        stability_report(sets, in_order_of(sets, sets), {.score = default_score(sets.front().style), .bootstrap = 2});
    if (std::abs(report.average.figures.stability - 1) > 1e-9) std::abort();
    to_json(report).dump();
  } catch (const Error&) {
  }
  std::filesystem::remove(path);
  return 0;
}
