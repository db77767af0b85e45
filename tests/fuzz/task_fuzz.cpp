// SPDX-License-Identifier: Apache-2.0
// Any bytes as a task file, as a template over fields of every kind, or as a table: an Error, or a value. The first
// byte chooses.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "streamline/base/error.h"
#include "streamline/tasks/csv.h"
#include "streamline/tasks/task_spec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace streamline;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    if (data[0] == 'c') {
      for (const CsvRow& row : parse_csv(text))
        if (row.problem.empty() == row.cells.empty()) std::abort();
    } else if (data[0] == 't') {
      const Json fields = {
          {"a", "\u00c4 b_c"}, {"n", -1}, {"l", {"x", "y", 2}}, {"o", {{"k", {{"v", "w"}}}}}, {"z", nullptr}};
      Template(text, "fuzz").value(fields);
    } else {
      parse_task(text, "fuzz");
    }
  } catch (const Error&) {  // the one answer that broken text may get
  }
  return 0;
}
