// SPDX-License-Identifier: Apache-2.0
// What lm-evaluation-harness writes about one question.
#pragma once

#include "streamline/base/json.h"
#include "streamline/tasks/answers.h"
#include "streamline/tasks/task_set.h"

namespace streamline {

// A line of its samples, without the line's end. `document` is the question's place in its set.
Json lm_eval_sample(const TaskAnswers& set, const TaskSet& questions, std::size_t document);

}  // namespace streamline
