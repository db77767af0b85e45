// SPDX-License-Identifier: Apache-2.0
// The rows of a task's data as questions: named fields that prompts are made of.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "streamline/base/json.h"
#include "streamline/tasks/task_spec.h"

namespace streamline {

// `fields` has at least "choices", a list of texts, and "label", the position of the right one.
struct Question {
  Json fields = nullptr;
  std::string where = {};
};

struct Questions {
  std::vector<Question> good;
  std::vector<std::string> problems;  // a row that is no question: where and why
};

// `labels`: a file in whose line i stands the label of row i, as the field label_line; relative to the first file's
// folder; empty for none. Errors: io, and format when a file as a whole is wrong.
Questions read_questions(const Source& source, const std::vector<std::filesystem::path>& files,
                         const std::string& labels);

}  // namespace streamline
