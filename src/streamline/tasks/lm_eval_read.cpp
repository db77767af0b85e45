// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <optional>

#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/tasks/harness_names.h"
#include "streamline/tasks/lm_eval_files.h"
#include "streamline/text/text_lines.h"

namespace streamline {
namespace fs = std::filesystem;
namespace {

// A number that the harness wrote as a string.
double number(const Json& value, const std::string& where) {
  if (value.is_number()) return value.get<double>();
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    char* end = nullptr;
    const double parsed = std::strtod(text.c_str(), &end);
    if (!text.empty() && end == text.c_str() + text.size() && std::isfinite(parsed)) return parsed;
  }
  fail(ErrorKind::format, where, ": ", value.dump().substr(0, 60), " is no log likelihood");
}

bool truth(const Json& value, const std::string& where) {
  if (value.is_boolean()) return value.get<bool>();
  if (value == "True" || value == "False") return value == "True";
  fail(ErrorKind::format, where, ": ", value.dump().substr(0, 60), " is neither True nor False");
}

bool has_metric(const Json& sample, const char* metric) {
  const auto metrics = sample.find("metrics");
  return metrics != sample.end() && std::find(metrics->begin(), metrics->end(), metric) != metrics->end();
}

// [[log likelihood, greedy], …], one a choice.
void read_responses(const Json& sample, Answer& answer, const std::string& where) {
  const auto responses = sample.find("filtered_resps");
  if (responses == sample.end() || !responses->is_array() || responses->empty())
    fail(ErrorKind::format, where, ": 'filtered_resps' is missing or empty");
  std::size_t choices = responses->size();
  // Every choice once more, without its question.
  if (has_metric(sample, "acc_mutual_info") && choices % 2 == 0) choices /= 2;
  for (std::size_t i = 0; i < choices; ++i) {
    const Json& response = (*responses)[i];
    if (!response.is_array() || response.size() != 2)
      fail(ErrorKind::format, where, ": 'filtered_resps' holds ", response.dump().substr(0, 60),
           "; expected a log likelihood and whether it is greedy, as tasks with choices have");
    answer.log_likelihoods.push_back(number(response[0], where));
    answer.greedy.push_back(truth(response[1], where));
  }
}

// The text of a choice: what was scored, without its delimiter.
std::optional<std::string> choice_text(const Json& sample, std::size_t choice) {
  const auto arguments = sample.find("arguments");
  if (arguments == sample.end() || !arguments->is_object()) return std::nullopt;
  const auto call = arguments->find("gen_args_" + std::to_string(choice));
  if (call == arguments->end() || !call->is_object()) return std::nullopt;
  const auto text = call->find("arg_1");
  if (text == call->end() || !text->is_string()) return std::nullopt;
  const auto& whole = text->get_ref<const std::string&>();
  return whole.substr(std::min(whole.size(), whole.find_first_not_of(' ')));
}

std::optional<bool> accurate(const Json& sample, const std::string& where) {
  const auto acc = json_number(sample, "acc", where);
  if (!acc) return std::nullopt;
  if (*acc != 0 && *acc != 1)
    fail(ErrorKind::format, where, ": 'acc' is ", *acc, "; expected 0 or 1, as tasks with one right choice have");
  return *acc == 1;
}

// The choices that "target" may mean: the one of this index, then those of this text.
std::vector<std::size_t> meant(const Json& sample, const std::string& target, std::size_t choices) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < choices; ++i)
    if (target == std::to_string(i)) found.push_back(i);
  for (std::size_t i = 0; i < choices; ++i)
    if (choice_text(sample, i) == target) found.push_back(i);
  return found;
}

std::size_t gold_of(const Json& sample, const Answer& answer, const std::string& where) {
  const auto found = sample.find("target");
  if (found == sample.end()) fail(ErrorKind::format, where, ": 'target' is missing");
  const std::string target = found->is_string() ? found->get<std::string>() : found->dump();
  const std::size_t best = most_likely(answer), choices = answer.log_likelihoods.size();
  const auto acc = accurate(sample, where);
  const bool is_index = target.find_first_not_of("0123456789") == std::string::npos;
  const std::vector<std::size_t> golds = meant(sample, target, choices);
  if (!acc && (golds.size() == 1 || (is_index && !golds.empty()))) return golds.front();
  for (const std::size_t gold : golds)
    if (acc && *acc == (best == gold)) return gold;
  // WinoGrande puts one text behind two contexts, and its target is that text.
  if (acc && *acc && !is_index) return best;
  if (acc && choices == 2 && !is_index) return 1 - best;
  fail(ErrorKind::format, where, ": the target '", target.substr(0, 60), "' is no choice that goes with 'acc' ",
       acc ? (*acc ? "1" : "0") : "missing", " and ", best, " as the most likely choice");
}

Answer parse_sample(const Json& sample, Rule rule, const std::string& where) {
  Answer answer;
  const auto id = json_integer(sample, "doc_id", where);
  if (!id) fail(ErrorKind::format, where, ": 'doc_id' is missing");
  answer.id = std::to_string(*id);
  read_responses(sample, answer, where);
  if ((rule == Rule::greedy) != (answer.log_likelihoods.size() == 1))
    fail(ErrorKind::format, where, ": ", answer.log_likelihoods.size(),
         " responses; in one file there are one everywhere, or several everywhere");
  if (rule == Rule::choices) answer.gold = gold_of(sample, answer, where);
  return answer;
}

// samples_TASK_TIME.jsonl: TASK and TIME.
std::optional<std::pair<std::string, std::string>> name_parts(const fs::path& file) {
  constexpr std::string_view kPrefix = "samples_";
  const std::string stem = file.stem().string();
  const std::size_t mark = stem.rfind('_');
  if (file.extension() != ".jsonl" || !stem.starts_with(kPrefix)) return std::nullopt;
  if (mark == std::string::npos || mark < kPrefix.size()) return std::pair{stem.substr(kPrefix.size()), std::string()};
  return std::pair{stem.substr(kPrefix.size(), mark - kPrefix.size()), stem.substr(mark + 1)};
}

bool has_samples(const fs::path& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (name_parts(entry.path())) return true;
  return false;
}

fs::path lm_eval_folder(const fs::path& folder) {
  if (has_samples(folder)) return folder;
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (entry.is_directory(error) && has_samples(entry.path())) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  if (found.size() == 1) return found.front();
  if (found.empty())
    fail(ErrorKind::io, folder.string(), ": no samples of lm-evaluation-harness (samples_TASK_TIME.jsonl); was it run ",
         "with --log_samples?");
  std::string names;
  for (const fs::path& path : found) names += (names.empty() ? "" : ", ") + path.filename().string();
  fail(ErrorKind::io, folder.string(), ": samples of several models; name the folder of one: ", names);
}

}  // namespace

TaskAnswers read_lm_eval_samples(const fs::path& file) {
  TaskAnswers set;
  const auto parts = name_parts(file);
  set.name = parts ? parts->first : file.stem().string();
  set.group = benchmark_of(set.name);
  set.metrics = {"acc"};
  set.source = file.string();
  std::string filter;
  read_lines(file, [&](std::string_view line, std::int64_t number, std::int64_t) {
    const std::string where = file.string() + ":" + std::to_string(number);
    const Json sample = parse_json(line, where);
    if (!sample.is_object() || !sample.contains("doc_id"))
      fail(ErrorKind::format, where, ": not a sample of lm-evaluation-harness (no 'doc_id')");
    // A task with several filters says every question once a filter.
    const std::string here = json_string(sample, "filter", where).value_or("none");
    if (set.answers.empty()) {
      filter = here;
      const auto responses = sample.find("filtered_resps");
      if (responses != sample.end() && responses->size() == 1) set.rule = Rule::greedy;
    }
    if (here == filter) set.answers.push_back(parse_sample(sample, set.rule, where));
    return true;
  });
  if (set.answers.empty()) fail(ErrorKind::format, file.string(), ": no samples");
  set.items_in_data = static_cast<std::int64_t>(set.answers.size());
  return set;
}

std::vector<TaskAnswers> read_lm_eval_folder(const fs::path& folder) {
  const fs::path model = lm_eval_folder(folder);
  std::map<std::string, std::pair<std::string, fs::path>> newest;
  for (const std::string& name : open_directory(model)->names())
    if (const auto parts = name_parts(name)) {
      auto& [time, file] = newest[parts->first];
      if (file.empty() || time < parts->second) std::tie(time, file) = std::pair{parts->second, model / name};
    }
  std::vector<TaskAnswers> sets;
  sets.reserve(newest.size());
  for (const auto& [task, timed] : newest) sets.push_back(read_lm_eval_samples(timed.second));
  return sets;
}

}  // namespace streamline
