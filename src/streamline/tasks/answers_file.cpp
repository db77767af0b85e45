// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/answers_file.h"

#include <algorithm>
#include <cmath>

#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/json_fields.h"
#include "streamline/base/unfinished.h"
#include "streamline/text/text_lines.h"

namespace streamline {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kFormat = "streamline-answers";
constexpr std::int64_t kVersion = 1;

std::string dump_line(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"; }

std::string_view name(Rule rule) { return rule == Rule::choices ? "choices" : "greedy"; }

Json header(const TaskAnswers& set, const Json& key) {
  return {{"format", kFormat},
          {"version", kVersion},
          {"name", set.name},
          {"group", set.group},
          {"style", streamline::name(set.style)},
          {"rule", name(set.rule)},
          {"metrics", set.metrics},
          {"labels", set.labels},
          {"shots", set.shots},
          {"items_in_data", set.items_in_data},
          {"truncated", set.truncated},
          {"source", set.source},
          {"digest", set.digest},
          {"items", set.answers.size()},
          {"key", key}};
}

Json line(const Answer& answer) {
  return {{"id", answer.id},
          {"gold", answer.gold},
          {"log_likelihoods", answer.log_likelihoods},
          {"tokens", answer.tokens},
          {"characters", answer.characters},
          {"greedy", answer.greedy}};
}

std::int64_t count(const Json& object, std::string_view key, const std::string& where) {
  const std::int64_t value = required(json_integer(object, key, where), key, where);
  if (value < 0) fail(ErrorKind::format, where, ": '", key, "' is ", value, "; expected no less than 0");
  return value;
}

std::string text(const Json& object, std::string_view key, const std::string& where) {
  return required(json_string(object, key, where), key, where);
}

std::vector<std::int64_t> counts(const Json& object, const char* key, const std::string& where) {
  auto values = json_list<std::int64_t>(object, key, &Json::is_number_integer, where);
  for (const std::int64_t value : values)
    if (value < 0) fail(ErrorKind::format, where, ": '", key, "' holds ", value, "; expected no less than 0");
  return values;
}

void check_metrics(const std::vector<std::string>& metrics, const std::string& where) {
  for (const std::string& metric : metrics)
    if (metric != "acc" && metric != "acc_norm" && metric != "perplexity")
      fail(ErrorKind::format, where, ": unknown metric '", metric, "'; expected acc, acc_norm, perplexity");
}

TaskAnswers parse_header(const Json& object, const std::string& where) {
  if (!object.is_object() || json_string(object, "format", where) != kFormat)
    fail(ErrorKind::format, where, ": not a file of answers (its first line has no \"format\": \"", kFormat, "\")");
  const std::int64_t version = count(object, "version", where);
  if (version != kVersion)
    fail(ErrorKind::unsupported, where, ": version ", version, " of the format; this program knows ", kVersion);
  TaskAnswers set{.name = text(object, "name", where), .group = text(object, "group", where)};
  const std::string style = text(object, "style", where), rule = text(object, "rule", where);
  if (style != "lm-eval" && style != "opencompass") fail(ErrorKind::format, where, ": unknown style '", style, "'");
  if (rule != "choices" && rule != "greedy") fail(ErrorKind::format, where, ": unknown rule '", rule, "'");
  set.style = style_named(style);
  set.rule = rule == "choices" ? Rule::choices : Rule::greedy;
  set.metrics = json_list<std::string>(object, "metrics", &Json::is_string, where);
  check_metrics(set.metrics, where);
  set.labels = json_list<std::string>(object, "labels", &Json::is_string, where);
  set.shots = count(object, "shots", where);
  set.items_in_data = count(object, "items_in_data", where);
  if (object.contains("truncated")) set.truncated = count(object, "truncated", where);
  set.source = text(object, "source", where);
  set.digest = text(object, "digest", where);
  return set;
}

void check_choices(const Answer& answer, const TaskAnswers& set, const std::string& where) {
  const std::size_t choices = answer.log_likelihoods.size();
  const auto fits = [&](std::size_t size) { return size == choices || size == 0; };
  if (choices == 0 || !fits(answer.tokens.size()) || !fits(answer.characters.size()) || !fits(answer.greedy.size()))
    fail(ErrorKind::format, where, ": ", choices, " log_likelihoods, ", answer.tokens.size(), " tokens, ",
         answer.characters.size(), " characters and ", answer.greedy.size(), " greedy; expected one of each a choice");
  if (answer.gold >= choices)
    fail(ErrorKind::format, where, ": 'gold' is ", answer.gold, ", and there are ", choices, " choices");
  if (set.rule == Rule::greedy && answer.greedy.empty())
    fail(ErrorKind::format, where, ": 'greedy' is empty, and the set's rule is greedy");
  const auto& metrics = set.metrics;
  if (answer.characters.empty() && std::find(metrics.begin(), metrics.end(), "acc_norm") != metrics.end())
    fail(ErrorKind::format, where, ": 'characters' is empty, and the set has the metric acc_norm");
}

Answer parse_answer(const Json& object, const TaskAnswers& set, const std::string& where) {
  if (!object.is_object()) fail(ErrorKind::format, where, ": not a JSON object");
  Answer answer{.id = text(object, "id", where), .gold = static_cast<std::size_t>(count(object, "gold", where))};
  answer.log_likelihoods = json_list<double>(object, "log_likelihoods", &Json::is_number, where);
  answer.tokens = counts(object, "tokens", where);
  answer.characters = counts(object, "characters", where);
  answer.greedy = json_list<bool>(object, "greedy", &Json::is_boolean, where);
  check_choices(answer, set, where);
  return answer;
}

}  // namespace

void check_set_name(std::string_view set) {
  if (set.empty() || set.starts_with('.') || set.find_first_of(std::string_view("/\\\0", 3)) != std::string_view::npos)
    fail(ErrorKind::format, "the set of questions '", set, "' cannot be the name of a file");
}

fs::path answers_path(const fs::path& results, Style style, std::string_view set) {
  check_set_name(set);
  return results / "answers" / name(style) / (std::string(set) + ".jsonl");
}

void write_answers(const fs::path& results, const TaskAnswers& set, const Json& key) {
  const fs::path path = answers_path(results, set.style, set.name);
  std::string contents = dump_line(header(set, key));
  for (const Answer& answer : set.answers) {
    for (const double value : answer.log_likelihoods)
      if (!std::isfinite(value))
        fail(ErrorKind::numeric, set.name, ": the log likelihood of a choice of question '", answer.id, "' is ", value);
    check_choices(answer, set, set.name + ": question '" + answer.id + "'");
    contents += dump_line(line(answer));
  }
  write_text(path, contents);
  remove_unfinished(path.parent_path());
}

AnswersFile read_answers(const fs::path& file) {
  AnswersFile read;
  std::optional<std::int64_t> items;
  read_lines(file, [&](std::string_view text, std::int64_t number, std::int64_t) {
    const std::string where = file.string() + ":" + std::to_string(number);
    const Json object = parse_json(text, where);
    if (items) {
      read.set.answers.push_back(parse_answer(object, read.set, where));
    } else {
      read.set = parse_header(object, where);
      items = count(object, "items", where);
      if (const auto key = object.find("key"); key != object.end()) read.key = *key;
    }
    return true;
  });
  if (!items) fail(ErrorKind::format, file.string(), ": empty; expected a file of answers");
  if (*items != static_cast<std::int64_t>(read.set.answers.size()))
    fail(ErrorKind::format, file.string(), ": ", read.set.answers.size(), " answers; its first line says ", *items);
  return read;
}

std::vector<AnswersFile> read_all_answers(const fs::path& results, Style style) {
  const fs::path folder = results / "answers" / name(style);
  std::error_code error;
  if (!fs::is_directory(folder, error)) return {};
  std::vector<AnswersFile> files;
  for (const std::string& file : open_directory(folder)->names())
    if (file.ends_with(".jsonl") && !file.starts_with('.')) files.push_back(read_answers(folder / file));
  return files;
}

}  // namespace streamline
