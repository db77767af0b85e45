// SPDX-License-Identifier: Apache-2.0
// A question as a model is asked it.
#pragma once

#include <span>

#include "streamline/tasks/questions.h"
#include "streamline/tasks/task_set.h"

namespace streamline {

// `examples` are put in front, each with its right answer. Errors: format when a field is missing or of a wrong kind.
TaskItem render(const Prompts& prompts, const Question& question, std::span<const Question* const> examples);

}  // namespace streamline
