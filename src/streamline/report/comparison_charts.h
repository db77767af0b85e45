// SPDX-License-Identifier: Apache-2.0
// Charts of a comparison, from its record: rows for charts/quality.json and charts/tasks.json.
#pragma once

#include <string>
#include <vector>

#include "streamline/base/json.h"

namespace streamline::report {

// "quality-parameters", "quality-speed", and "tasks-1" … for the models after the source, as far as there are numbers.
Json comparison_charts(const Json& record);

// Of one benchmark: the difference in accuracy from the source with its exact 95 % interval, percentage points.
struct TaskDifference {
  std::string name = {};
  double difference = 0, low = 0, high = 0;
  double p = 1;                       // McNemar
  std::int64_t lost = 0, gained = 0;  // questions
  bool certain() const { return p < 0.05; }
};
std::vector<TaskDifference> task_differences(const Json& model);

}  // namespace streamline::report
