// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/labelled.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/tasks/data_files.h"
#include "streamline/tasks/rows.h"
#include "streamline/tasks/task_spec.h"
#include "streamline/text/text_lines.h"

namespace streamline {
namespace {

namespace fs = std::filesystem;

// What follows the delimiter that stands in front of every answer.
std::string answer_text(const std::string& continuation) {
  const std::size_t begin = continuation.find_first_not_of(" \n\t");
  return begin == continuation.npos ? continuation : continuation.substr(begin);
}

std::vector<std::string> lettered(std::size_t count) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < count; ++i)
    names.push_back(count <= 26 ? std::string(1, static_cast<char>('A' + i)) : std::to_string(i));
  return names;
}

std::vector<std::string> classes_of(const std::vector<TaskSet>& sets) {
  std::vector<std::string> names;
  bool alike = true;
  std::size_t most = 0;
  for (const TaskSet& set : sets)
    for (const TaskItem& item : set.items) {
      most = std::max(most, item.continuations.size());
      std::vector<std::string> answers;
      for (const std::string& continuation : item.continuations) answers.push_back(answer_text(continuation));
      if (names.empty()) names = answers;
      alike = alike && answers == names;
    }
  return alike ? names : lettered(most);
}

// Answers that the text does not show differ from question to question: nothing can be learnt about their order.
void warn_of_hidden_answers(const TaskSet& set) {
  if (set.items.size() < 2 || set.items[0].continuations == set.items[1].continuations) return;
  const TaskItem& item = set.items[0];
  for (const std::string& answer : item.continuations)
    if (item.contexts[0].find(answer_text(answer)) != std::string::npos) return;
  log_warning(set.name +
              ": its texts do not show the answers, which differ from question to question; a classifier "
              "cannot know which is which");
}

// By number where both are numbers, else by letter.
bool comes_before(const std::string& a, const std::string& b) {
  const auto number = [](const std::string& word) -> std::optional<double> {
    double value = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
    return value;
  };
  const auto left = number(a), right = number(b);
  return left && right ? *left < *right : a < b;
}

struct LabelledRow {
  std::string text, label;
};

LabelledRow labelled_row(const Row& row, const LabelledFileOptions& options, const Template& prompt) {
  if (!row.problem.empty()) fail(ErrorKind::format, row.where, ": ", row.problem);
  const auto field = [&](const std::string& name) -> const Json& {
    if (!row.value.is_object()) fail(ErrorKind::format, row.where, ": not an object with named fields");
    const auto found = row.value.find(name);
    if (found == row.value.end()) fail(ErrorKind::format, row.where, ": there is no field '", name, "'");
    return *found;
  };
  LabelledRow result{.text = {}, .label = as_text(field(options.label_field))};
  result.text = options.prompt.empty() ? as_text(field(options.text_field)) : prompt.text(row.value);
  if (result.text.empty()) fail(ErrorKind::format, row.where, ": the text is empty");
  return result;
}

std::vector<LabelledRow> labelled_rows(const fs::path& file, const LabelledFileOptions& options) {
  const Template prompt(options.prompt, "--prompt");
  const std::vector<Row> rows = read_rows(file, row_format_of(file), true);
  std::vector<LabelledRow> good;
  std::vector<std::string> problems;
  for (const Row& row : rows) {
    if (options.limit > 0 && std::ssize(good) == options.limit) break;
    try {
      good.push_back(labelled_row(row, options, prompt));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::format) throw;
      problems.emplace_back(error.what());
    }
  }
  if (good.empty() && problems.empty()) fail(ErrorKind::format, file.string(), ": there is no row in it");
  if (problems.size() * 10 > problems.size() + good.size())
    fail(ErrorKind::format, problems.front(), " (and ", problems.size() - 1, " more of ", problems.size() + good.size(),
         " rows)");
  if (!problems.empty())
    log_warning(problems.front() + "; left out " + std::to_string(problems.size()) + " rows without text or label");
  return good;
}

std::vector<std::string> distinct_labels(const std::vector<LabelledRow>& rows) {
  std::set<std::string> all;
  for (const LabelledRow& row : rows) all.insert(row.label);
  std::vector<std::string> names(all.begin(), all.end());
  std::ranges::stable_sort(names, comes_before);
  return names;
}

void check_classes(const std::vector<std::string>& classes, const std::vector<std::string>& found, const fs::path& file,
                   const std::string& others) {
  for (const std::string& name : found)
    if (std::ranges::find(classes, name) == classes.end())
      fail(ErrorKind::mismatch, file.string(), ": has the label '", name, "', which ", others, " has not");
  for (const std::string& name : classes)
    if (std::ranges::find(found, name) == found.end())
      fail(ErrorKind::mismatch, file.string(), ": has no row with the label '", name, "', which ", others, " has");
}

}  // namespace

LabelledTexts labelled_task(const TaskChoice& choice, const TaskData& data) {
  TaskData wanted = data;
  wanted.style = Style::lm_eval;
  wanted.set = choice.set;
  const std::vector<TaskSet> sets = load_task(*choice.task, wanted);
  LabelledTexts result;
  result.name = choice.set.empty() ? choice.task->name : choice.set;
  result.classes = classes_of(sets);
  result.source = sets.front().source;
  result.digest = sets.front().digest;
  if (const Prompts& prompts = *choice.task->lm_eval; sets.front().shots == 0)
    result.prompt = prompts.description.source() + prompts.context.source();
  for (const TaskSet& set : sets) {
    if (set.rule != Rule::choices)
      fail(ErrorKind::unsupported, set.name, ": has no answers to choose from, which a classifier needs");
    warn_of_hidden_answers(set);
    for (const TaskItem& item : set.items) {
      for (const std::string& context : item.contexts)
        if (context != item.contexts.front())
          fail(ErrorKind::unsupported, set.name, ", question ", item.id,
               ": its answers stand behind different texts; a classifier reads one");
      result.texts.push_back(item.contexts.front());
      result.labels.push_back(static_cast<std::int64_t>(item.gold));
    }
  }
  return result;
}

LabelledTexts labelled_files(std::span<const fs::path> files, const LabelledFileOptions& options) {
  SL_ASSERT(!files.empty());
  LabelledTexts result;
  result.name = without_compression(files.front()).stem().string();
  result.source = files.front().string();
  result.digest = digest_of({files.begin(), files.end()});
  result.classes = options.classes;
  result.prompt = options.prompt;
  for (const fs::path& file : files) {
    const std::vector<LabelledRow> rows = labelled_rows(file, options);
    const std::vector<std::string> found = distinct_labels(rows);
    if (result.classes.empty()) result.classes = found;
    check_classes(result.classes, found, file, options.classes.empty() ? files.front().string() : "--classes");
    for (const LabelledRow& row : rows) {
      result.texts.push_back(row.text);
      result.labels.push_back(std::ranges::find(result.classes, row.label) - result.classes.begin());
    }
  }
  if (result.classes.size() < 2)
    fail(ErrorKind::format, result.source, ": all rows have the label '", result.classes.front(),
         "'; a classifier needs two classes or more");
  return result;
}

std::string prompted(const std::string& line, const std::string& prompt, const std::string& where) {
  if (prompt.empty()) return line;
  const Template text(prompt, where);
  Json fields = Json::object();
  if (line.starts_with('{')) {
    fields = parse_json(line, where);
  } else {
    const std::vector<std::string> names = text.fields();
    if (names.size() != 1) {
      std::string all;
      for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
      fail(ErrorKind::format, where, ": the prompt is made of several fields (", all,
           "); give a JSON object with them on a line");
    }
    fields[names.front()] = line;
  }
  try {
    return text.text(fields);
  } catch (const Error& error) {
    fail(ErrorKind::format, where, ": ", error.what());
  }
}

}  // namespace streamline
