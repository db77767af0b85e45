// SPDX-License-Identifier: Apache-2.0
// The answers of one set as a file, RESULTS/answers/STYLE/SET.jsonl: a line that says what they are answers to, then a
// line a question (docs/formats.md). A file exists once its set is finished, so that an evaluation goes on where it
// was.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "streamline/base/json.h"
#include "streamline/tasks/answers.h"

namespace streamline {

struct AnswersFile {
  TaskAnswers set;
  Json key;  // whatever decides the answers: digests of model and data, limit, shots, seed, dtype, …
};

// Errors: format for a set whose name cannot be the name of a file.
void check_set_name(std::string_view set);
std::filesystem::path answers_path(const std::filesystem::path& results, Style style, std::string_view set);

// Replaces an older file only when it is whole. Numbers come back as they were, to the last bit. Errors: io; numeric
// for a log likelihood that is not finite, naming the question.
void write_answers(const std::filesystem::path& results, const TaskAnswers& set, const Json& key);

// Errors: io; format, naming file and line, also for a file that ends early.
AnswersFile read_answers(const std::filesystem::path& file);

// All sets of a style, in the order of their names; empty where there is no such folder.
std::vector<AnswersFile> read_all_answers(const std::filesystem::path& results, Style style);

}  // namespace streamline
