// SPDX-License-Identifier: Apache-2.0
// A task and a folder of data made into sets of questions.
#include <algorithm>
#include <set>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/random.h"
#include "streamline/tasks/data_files.h"
#include "streamline/tasks/render.h"
#include "streamline/tasks/task_set.h"

namespace streamline {
namespace {

namespace fs = std::filesystem;
using Pointers = std::vector<const Question*>;

constexpr std::size_t kShownProblems = 5;

void report(const Questions& questions, const std::string& source) {
  const std::size_t bad = questions.problems.size(), all = bad + questions.good.size();
  if (all == 0) fail(ErrorKind::format, source, ": there is no question in it");
  if (bad * 10 > all)
    fail(ErrorKind::format, questions.problems.front(), " (and ", bad - 1, " more of ", all, " rows are no questions)");
  for (std::size_t i = 0; i < std::min(bad, kShownProblems); ++i) log_warning(questions.problems[i]);
  if (bad > 0)
    log_warning(source + ": left out " + std::to_string(bad) + " of " + std::to_string(all) +
                " rows, which are no questions");
}

const Prompts& prompts_of(const Task& task, Style style) {
  const auto& prompts = style == Style::lm_eval ? task.lm_eval : task.opencompass;
  if (!prompts) fail(ErrorKind::usage, "the task ", task.name, " has no prompts in the style ", name(style));
  return *prompts;
}

std::string set_of(const Question& question, const std::string& split) {
  if (split.empty()) return {};
  const auto found = question.fields.find(split);
  if (found == question.fields.end()) fail(ErrorKind::format, "there is no '", split, "'");
  return as_text(*found);
}

const std::string& name_of(const Task& task, const std::string& set) {
  const auto found = task.names.find(set);
  if (found == task.names.end()) fail(ErrorKind::format, "'", set, "' has no name in the task's 'names'");
  return found->second;
}

// Moves what the prompts cannot be made of, or what has no question's number of choices, to the problems.
Questions askable(Questions questions, const Prompts& prompts, const Task& task) {
  std::vector<Question> candidates = std::move(questions.good);
  questions.good.clear();
  for (Question& question : candidates) {
    try {
      const std::string set = set_of(question, task.split);
      if (!task.names.empty()) question.fields[task.split + "_name"] = name_of(task, set);
      const std::size_t choices = render(prompts, question, {}).contexts.size();
      if (prompts.rule == Rule::choices && choices < 2) fail(ErrorKind::format, "has one choice only");
      if (prompts.rule == Rule::greedy && choices != 1) fail(ErrorKind::format, "has ", choices, " answers, not one");
      questions.good.push_back(std::move(question));
    } catch (const Error& error) {
      questions.problems.push_back(question.where + ": " + error.what());
    }
  }
  return questions;
}

Questions load_examples(const Task& task, const FoundSource& found, const Prompts& prompts) {
  const std::string& name = found.source->examples;
  const fs::path folder = found.files.front().parent_path();
  if (name.empty())
    fail(ErrorKind::usage, "the task ", task.name, " has no examples to put in front of questions from ",
         found.files.front().string());
  const std::vector<fs::path> files = matching_files(folder, name);
  if (files.empty()) fail(ErrorKind::io, (folder / name).string(), ": no such file; it has the task's examples");
  Source source = *found.source;
  source.files = {name};  // what the names of the files stand for
  Questions questions = askable(read_questions(source, files, source.example_labels), prompts, task);
  report(questions, files.front().string());
  return questions;
}

// The questions by what they are split by, in the order in which the data names it.
std::vector<std::pair<std::string, Pointers>> grouped(const Questions& questions, const std::string& split) {
  std::vector<std::pair<std::string, Pointers>> groups;
  std::map<std::string, std::size_t> places;
  for (const Question& question : questions.good) {
    const std::string key = set_of(question, split);
    const auto [place, is_new] = places.try_emplace(key, groups.size());
    if (is_new) groups.emplace_back(key, Pointers());
    groups[place->second].second.push_back(&question);
  }
  return groups;
}

// `shots` of the pool, never the question itself: the first ones, or drawn anew for every question.
Pointers examples_for(const Question& question, std::size_t index, const Pointers& pool, const Prompts& prompts,
                      std::int64_t shots, std::uint64_t seed) {
  Pointers chosen;
  const auto take = [&](const Question* candidate) {
    if (candidate->fields != question.fields) chosen.push_back(candidate);
    return static_cast<std::int64_t>(chosen.size()) == shots;
  };
  // Of the index, not of what was drawn before: --limit must not change the examples.
  Rng rng(seed * 0x9E3779B97F4A7C15U + index);
  std::set<std::uint64_t> seen;
  while (static_cast<std::int64_t>(chosen.size()) < shots && seen.size() < pool.size()) {
    const std::uint64_t next = prompts.first ? seen.size() : rng.below(pool.size());
    if (seen.insert(next).second && take(pool[next])) break;
  }
  if (static_cast<std::int64_t>(chosen.size()) < shots)
    fail(ErrorKind::usage, question.where, ": ", shots, " examples are wanted in front of it; there are ",
         chosen.size());
  return chosen;
}

std::string id_of(const Question& question, const std::string& group, std::size_t index) {
  const auto found = question.fields.find("id");
  if (found != question.fields.end() && !found->is_structured() && !found->is_null()) return as_text(*found);
  return (group.empty() ? "" : group + "/") + std::to_string(index);
}

std::vector<std::string> numbered_labels(const std::vector<TaskItem>& items) {
  std::size_t most = 0;
  for (const TaskItem& item : items) most = std::max(most, item.contexts.size());
  std::vector<std::string> labels;
  for (std::size_t i = 0; i < most; ++i) labels.push_back(std::to_string(i));
  return labels;
}

struct Loading {
  const Task& task;
  const TaskData& data;
  const Prompts& prompts;
  std::int64_t shots;

  std::string name(const std::string& group) const { return group.empty() ? task.name : task.name + "_" + group; }

  TaskSet set(const std::string& group, const Pointers& questions, const Pointers& pool) const {
    TaskSet set;
    set.name = name(group);
    set.group = task.name;
    set.also = questions.empty() ? "" : prompts.name.text(questions.front()->fields);
    if (set.also.empty()) set.also = set.name;
    set.style = data.style;
    set.rule = prompts.rule;
    set.metrics = prompts.metrics;
    set.shots = shots;
    set.items_in_data = static_cast<std::int64_t>(questions.size());
    const std::size_t wanted = data.limit > 0 ? std::min<std::size_t>(questions.size(), data.limit) : questions.size();
    for (std::size_t i = 0; i < wanted; ++i) set.items.push_back(item(*questions[i], i, group, pool));
    set.labels = prompts.labels.empty() ? numbered_labels(set.items) : prompts.labels;
    return set;
  }

  TaskItem item(const Question& question, std::size_t index, const std::string& group, const Pointers& pool) const {
    const Pointers examples = examples_for(question, index, pool, prompts, shots, data.seed);
    TaskItem item = render(prompts, question, examples);
    item.id = id_of(question, group, index);
    return item;
  }
};

void note_size(const Task& task, std::size_t items, const std::string& source) {
  if (task.items == 0 || items == static_cast<std::size_t>(task.items)) return;
  log_warning(source + ": " + std::to_string(items) + " questions; the published " + task.name + " has " +
              std::to_string(task.items));
}

}  // namespace

std::vector<TaskSet> load_task(const Task& task, const TaskData& data) {
  const Prompts& prompts = prompts_of(task, data.style);
  const FoundSource found = find_source(task, data.folder);
  const std::string source = found.files.front().string();
  const Questions questions = askable(read_questions(*found.source, found.files, found.source->labels), prompts, task);
  report(questions, source);
  note_size(task, questions.good.size(), source);
  const Loading loading{task, data, prompts, data.shots < 0 ? prompts.shots : data.shots};
  const Questions examples = loading.shots > 0 ? load_examples(task, found, prompts) : Questions();
  const auto pools = grouped(examples, task.split);
  const std::string digest = digest_of(found.files);
  std::vector<TaskSet> sets;
  std::string names;
  for (const auto& group : grouped(questions, task.split)) {
    const std::string name = loading.name(group.first);
    names += (names.empty() ? "" : ", ") + name;
    if (!data.set.empty() && data.set != name) continue;
    const auto pool =
        std::find_if(pools.begin(), pools.end(), [&](const auto& other) { return other.first == group.first; });
    sets.push_back(loading.set(group.first, group.second, pool == pools.end() ? Pointers() : pool->second));
    sets.back().source = source;
    sets.back().digest = digest;
    sets.back().left_out = static_cast<std::int64_t>(questions.problems.size());
  }
  if (sets.empty()) fail(ErrorKind::usage, source, ": there is no set '", data.set, "' (", names, ")");
  return sets;
}

}  // namespace streamline
