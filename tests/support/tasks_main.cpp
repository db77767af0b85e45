// SPDX-License-Identifier: Apache-2.0
// Prints the questions of a task as a model would be asked them, one JSON object a line, for comparison with other
// harnesses (tests/oracle).
#include <cstdlib>
#include <iostream>

#include "streamline/base/error.h"
#include "streamline/base/json.h"
#include "streamline/tasks/task_set.h"

namespace {

using namespace streamline;

Json as_json(const TaskSet& set, const TaskItem& item) {
  return {{"set", set.name},
          {"id", item.id},
          {"contexts", item.contexts},
          {"continuations", item.continuations},
          {"characters", item.characters},
          {"gold", item.gold}};
}

}  // namespace

// streamline_tasks TASK STYLE DATA_DIR [LIMIT [SHOTS]]
int main(int argc, char** argv) {
  if (argc < 4) {
    std::cerr << "usage: streamline_tasks TASK STYLE DATA_DIR [LIMIT [SHOTS]]\n";
    return 2;
  }
  try {
    const TaskData data{.folder = argv[3],
                        .style = style_named(argv[2]),
                        .limit = argc > 4 ? std::atoll(argv[4]) : 0,
                        .shots = argc > 5 ? std::atoll(argv[5]) : -1};
    for (const TaskSet& set : load_task(*find_task(argv[1]), data))
      for (const TaskItem& item : set.items) std::cout << as_json(set, item).dump() << "\n";
  } catch (const Error& error) {
    std::cerr << "error: " << error.what() << "\n";
    return exit_status(error.kind());
  }
}
