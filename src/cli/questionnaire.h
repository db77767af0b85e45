// SPDX-License-Identifier: Apache-2.0
// Benchmarks as what a pruning method may ask its candidates (prune/method.h).
#pragma once

#include <string>
#include <vector>

#include "options.h"
#include "streamline/prune/method.h"

namespace streamline::cli {

struct QuestionOptions {
  std::vector<std::string> tasks;
  std::string task_dir, data_dir;
  std::int64_t limit = 0;
};
void add_question_options(Arguments& arguments, QuestionOptions& options);

// None without tasks. Refers to the tokenizer of `opened`. Errors: usage without --data-dir; those of load_task.
Questionnaire load_questionnaire(const QuestionOptions& options, const OpenedModel& opened, const DataOptions& data,
                                 std::uint64_t seed);

}  // namespace streamline::cli
