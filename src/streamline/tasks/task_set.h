// SPDX-License-Identifier: Apache-2.0
// Questions of a benchmark, rendered: what a model is asked to score.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/tasks/task.h"

namespace streamline {

// One question. A choice's text is context + continuation; under Style::opencompass the context is empty.
struct TaskItem {
  std::string id;
  std::vector<std::string> contexts;       // one a choice; most tasks ask all choices behind the same
  std::vector<std::string> continuations;  // one a choice, with the delimiter that comes before it
  std::vector<std::int64_t> characters;    // code points of the choice itself: what acc_norm divides by
  std::size_t gold = 0;
};

// The items of one file of answers: a task, or one subject of a task that is split by subject.
struct TaskSet {
  std::string name;   // "hellaswag", "mmlu_abstract_algebra"
  std::string also;   // what the harness of this style calls it: "lukaemon_mmlu_abstract_algebra"; mostly the name
  std::string group;  // the task's own name
  Style style = Style::lm_eval;
  Rule rule = Rule::choices;
  std::vector<std::string> metrics;  // "acc", "acc_norm", "perplexity", in the order they are shown
  std::vector<std::string> labels;   // what OpenCompass calls the choices ("A", "B", …), as many as any item has
  std::int64_t shots = 0;            // examples in front of every question
  std::int64_t items_in_data = 0;    // before --limit
  std::int64_t left_out = 0;         // rows of the task's data that are no questions
  std::string source, digest;        // the data file and its SHA-256
  std::vector<TaskItem> items;
};

struct TaskData {
  std::filesystem::path folder = {};  // --data-dir
  Style style = Style::lm_eval;
  std::int64_t limit = 0;   // the first items of each set; 0: all
  std::int64_t shots = -1;  // -1: as the task says
  std::uint64_t seed = 0;   // draws the examples where the task does not take the first
  std::string set = {};     // only the set of this name; empty: all
};

// One set, or one a subject in the order in which the data names them. A line that is no item is left out, counted and
// reported as a warning with file and line; Errors: io when no file of the task is in the folder (names what was
// looked for), format when more than a tenth of the lines are bad or none is good, usage for a style the task lacks,
// examples that it has no source for, or a set that is not there (names those that are).
std::vector<TaskSet> load_task(const Task& task, const TaskData& data);

}  // namespace streamline
