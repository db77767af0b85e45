// SPDX-License-Identifier: Apache-2.0
#include "questionnaire.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "streamline/base/error.h"
#include "streamline/eval/task_scoring.h"

namespace streamline::cli {
namespace {

// Apart, so that a few questions are taken without a copy of all.
struct Questions {
  TaskSet set = {};  // without items
  std::vector<TaskItem> items = {};
};

// The questions first … first+count-1 of all sets in a row, as sets of their own.
std::vector<TaskSet> extract(const std::vector<Questions>& sets, std::int64_t first, std::int64_t count) {
  std::vector<TaskSet> parts;
  for (const auto& [set, items] : sets) {
    const std::int64_t size = std::ssize(items);
    const std::int64_t begin = std::clamp<std::int64_t>(first, 0, size);
    const std::int64_t end = std::clamp<std::int64_t>(first + count, 0, size);
    if (begin < end) {
      TaskSet& part = parts.emplace_back(set);
      part.items.assign(items.begin() + begin, items.begin() + end);
    }
    first -= size;
  }
  return parts;
}

}  // namespace

void add_question_options(Arguments& arguments, QuestionOptions& options) {
  arguments.add("--tasks", options.tasks,
                "benchmarks whose questions the method asks (shapley --game accuracy), by name or path of a task file; "
                "whoever measures on the same questions later has peeked");
  arguments.add("--task-dir", options.task_dir, "folder of further task files");
  arguments.add("--data-dir", options.data_dir, "folder that the tasks' questions lie in");
  arguments.add("--limit", options.limit, "only the first questions of each set; default: all", {.limits = kPositive});
}

Questionnaire load_questionnaire(const QuestionOptions& options, const OpenedModel& opened, const DataOptions& data,
                                 std::uint64_t seed) {
  if (options.tasks.empty()) return {};
  if (options.data_dir.empty())
    fail(ErrorKind::usage, "--tasks needs --data-dir, the folder that the questions lie in");
  const auto sets = std::make_shared<std::vector<Questions>>();
  Questionnaire questions;
  for (const std::string& name : options.tasks) {
    const TaskChoice chosen = choose_task(name, options.task_dir);
    for (TaskSet& set : load_task(
             *chosen.task, {.folder = options.data_dir, .limit = options.limit, .seed = seed, .set = chosen.set})) {
      questions.count += std::ssize(set.items);
      std::vector<TaskItem> items = std::exchange(set.items, {});
      sets->push_back({std::move(set), std::move(items)});
    }
  }
  const TaskScoringOptions scoring{.bos = resolve_bos(data.bos, *opened.tokenizer)};
  const Tokenizer* tokenizer = opened.tokenizer.get();
  questions.right = [sets, scoring, tokenizer](const Model& view, std::int64_t first, std::int64_t count) {
    std::vector<bool> right;
    for (const TaskSet& set : extract(*sets, first, count)) {
      const TaskAnswers answers = answer(view, *tokenizer, set, scoring);
      for (const Answer& one : answers.answers) right.push_back(is_right(answers, one));
    }
    return right;
  };
  return questions;
}

}  // namespace streamline::cli
