// SPDX-License-Identifier: Apache-2.0
// How far the models of a comparison are from the source: in perplexity window by window, in accuracy question by
// question.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "streamline/base/json.h"

namespace streamline::report {

// Of one benchmark: the difference in accuracy from the source with its exact 95 % interval, percentage points.
struct TaskDifference {
  std::string name = {};
  double difference = 0, low = 0, high = 0;
  double p = 1;                       // McNemar
  std::int64_t lost = 0, gained = 0;  // questions
  bool certain() const { return p < 0.05; }
};
std::vector<TaskDifference> task_differences(const Json& model);

// Rows for charts/differences.json, a panel for each text and benchmark; null without any.
Json differences_chart(const Json& record);

}  // namespace streamline::report
