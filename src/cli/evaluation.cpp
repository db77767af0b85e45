// SPDX-License-Identifier: Apache-2.0
#include "evaluation.h"

#include <algorithm>
#include <cstdio>

#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/resources.h"
#include "streamline/base/version.h"
#include "streamline/report/report.h"
#include "streamline/tasks/answers_file.h"

namespace streamline::cli {
namespace {

std::string with_error(const Estimate& estimate, double factor, int digits) {
  char text[64];
  // One question has no deviation.
  if (estimate.count == 1) {
    std::snprintf(text, sizeof text, "%.*f", digits, estimate.value * factor);
    return text;
  }
  std::snprintf(text, sizeof text, "%.*f ± %.*f", digits, estimate.value * factor, digits,
                estimate.standard_error * factor);
  return text;
}

std::string figure(std::string_view metric, const Estimate& estimate) {
  return metric == "perplexity" ? with_error(estimate, 1, 3) : with_error(estimate, 100, 2);
}

Json set_json(const TaskAnswers& set) {
  Json json = {{"group", set.group},          {"style", name(set.style)},
               {"items", set.answers.size()}, {"items_in_data", set.items_in_data},
               {"shots", set.shots},          {"source", set.source},
               {"digest", set.digest}};
  for (const std::string& metric_name : set.metrics) json[metric_name] = to_json(metric(set, metric_name));
  return json;
}

// Groups count every question the same in lm-evaluation-harness, every set the same in OpenCompass and the paper.
Estimate over_group(const std::vector<TaskAnswers>& sets, std::string_view metric) {
  return group_metric(sets, metric, sets.front().style == Style::lm_eval);
}

// SHA-256 of the questions as they are put: what decides the answers, whatever file, limit, or examples they come from.
std::string digest(const TaskSet& set) {
  Sha256 hash;
  const auto add = [&](const std::string& text) {
    hash.update(std::to_string(text.size()) + ":");
    hash.update(text);
  };
  for (const TaskItem& item : set.items) {
    add(item.id);
    add(std::to_string(item.gold));
    add(std::to_string(item.continuations.size()));
    for (const std::string& context : item.contexts) add(context);
    for (const std::string& continuation : item.continuations) add(continuation);
  }
  return hash.hex();
}

// The key under which a set's answers can be taken from an earlier run.
Json answer_key(const Json& key, const TaskSet& set, const Workload& workload) {
  Json result = key;
  result["questions"] = digest(set);
  result["bos"] = workload.scoring.bos;
  result["max_tokens"] = workload.scoring.max_tokens;
  return result;
}

std::vector<TaskAnswers> answer_sets(const Model& model, const Tokenizer& tokenizer, const Workload& workload,
                                     const std::string& results, const Json& key) {
  std::vector<TaskAnswers> answers;
  std::map<std::string, std::int64_t> truncated;  // by group
  for (const TaskSet& set : workload.sets) {
    const Json set_key = answer_key(key, set, workload);
    if (!results.empty()) {
      if (auto finished = finished_answers(results, set.style, set.name, set_key)) {
        log_info(set.name + ": answers are in " + results + " already");
        answers.push_back(std::move(*finished));
        continue;
      }
    }
    ScoredSet scored = answer(model, tokenizer, set, workload.scoring);
    if (scored.truncated > 0) truncated[set.group] += scored.truncated;
    answers.push_back(std::move(scored.answers));
    if (!results.empty()) write_answers(results, answers.back(), set_key);
  }
  for (const auto& [group, count] : truncated)
    log_warning(group + ": " + std::to_string(count) + " texts of a question with one of its answers are longer than " +
                std::to_string(most_tokens(model, workload.scoring)) + " tokens; they were cut to that");
  return answers;
}

std::vector<std::string> cells_of(const std::string& label, const std::vector<TaskAnswers>& sets,
                                  const std::vector<std::string>& columns) {
  std::int64_t items = 0;
  for (const TaskAnswers& set : sets) items += std::ssize(set.answers);
  std::vector<std::string> row = {label, std::to_string(items), std::to_string(sets.front().shots)};
  for (const std::string& column : columns) {
    const auto& metrics = sets.front().metrics;
    const bool has = std::ranges::find(metrics, column) != metrics.end();
    row.push_back(has ? figure(column, over_group(sets, column)) : "-");
  }
  return row;
}

}  // namespace

void add_evaluation_options(Arguments& arguments, EvaluationOptions& options) {
  Arguments text = arguments.group("Perplexity"), tasks = arguments.group("Tasks");
  options.perplexity.window = 0;
  text.add("--perplexity", options.texts, "texts to measure perplexity on");
  text.add("--text-field", options.corpus.text_field, "field of a .jsonl line that holds the text");
  text.add("--window", options.perplexity.window,
           "tokens a window, the first of which is not scored; default 512 or the model's positions",
           {.limits = Limits{2, 1 << 30}});
  text.add("--stride", options.perplexity.stride, "tokens from one window to the next; default: the window",
           {.limits = kPositive});
  text.add("--max-windows", options.perplexity.max_windows, "only the first windows; default: all",
           {.limits = kPositive});
  text.flag("--allow-long", options.allow_long, "allow windows longer than the model's positions");
  tasks.add("--tasks", options.tasks, "benchmarks, by name (`streamline list`) or by the path of a task file");
  tasks.add("--task-dir", options.task_dir, "folder of further task files");
  tasks.add("--data-dir", options.data_dir, "folder that the tasks' questions lie in");
  tasks.add("--style", options.style,
            "how questions are put: lm-eval (likelihood of the answer), or opencompass "
            "(mean negative log likelihood of the whole text)",
            {.choices = {"lm-eval", "opencompass"}});
  tasks.add("--limit", options.limit, "only the first questions of each set; default: all", {.limits = kPositive});
  tasks.add("--num-fewshot", options.shots, "solved examples in front of every question; default: as the task says",
            {.shows_default = false, .limits = kNonNegative});
  tasks.add("--max-length", options.max_tokens,
            "tokens of a question with its answer; what is longer is cut; default: the model's positions",
            {.shows_default = false, .limits = kPositive});
  tasks.add("--out", options.out,
            "folder for the answers to every question; sets that are finished there are not asked again");
  arguments.add("--bos", options.bos,
                "BOS in front of each window and question: auto (where the tokenizer has the habit), on, off",
                {.choices = {"auto", "on", "off"}});
}

Workload load_workload(const EvaluationOptions& options, const OpenedModel& opened, std::uint64_t seed) {
  if (options.texts.empty() && options.tasks.empty())
    fail(ErrorKind::usage, "nothing to measure; give --perplexity FILE, or --tasks NAME,… with --data-dir DIR");
  if (!options.tasks.empty() && options.data_dir.empty())
    fail(ErrorKind::usage, "--tasks needs --data-dir, the folder that the questions lie in");
  Workload workload;
  const bool bos = resolve_bos(options.bos, *opened.tokenizer);
  workload.perplexity = options.perplexity;
  workload.perplexity.bos = bos;
  workload.perplexity.beyond_positions = true;
  workload.perplexity.progress = true;
  workload.bos = opened.tokenizer->bos();
  if (!options.texts.empty())
    workload.perplexity.window =
        resolve_seq_len(opened.model.config(), options.perplexity.window, options.allow_long, bos, "--window");
  for (const std::string& text : options.texts)
    workload.texts.push_back(load_evaluation_text(text, options.corpus, *opened.tokenizer));
  const TaskData data{.folder = options.data_dir,
                      .style = style_named(options.style),
                      .limit = options.limit,
                      .shots = options.shots,
                      .seed = seed};
  for (const std::string& task : options.tasks)
    for (TaskSet& set : load_task(*find_task(task, options.task_dir), data)) {
      const auto same = [&](const TaskSet& other) { return other.name == set.name; };
      if (std::ranges::any_of(workload.sets, same))
        fail(ErrorKind::usage, "--tasks: '", set.name, "' is there twice; its questions would count twice");
      workload.sets.push_back(std::move(set));
    }
  workload.scoring = {.max_tokens = options.max_tokens, .bos = bos, .progress = true};
  return workload;
}

Json answers_key(const Model& model, const std::string& plan_digest, std::uint64_t seed) {
  return {{"model", model.checkpoint().digest()},
          {"plan", plan_digest},
          {"dtype", torch::toString(model.placement().dtype)},
          {"version", program_version()},
          {"seed", seed}};
}

Evaluation evaluate_source(const Model& model, const Tokenizer& tokenizer, const Workload& workload,
                           const std::string& results, const Json& key, Source& source) {
  const Stopwatch watch;
  source.model = &model;
  Evaluation evaluation;
  for (const EvaluationText& text : workload.texts) {
    source.predictions.push_back(source_predictions(model, text, workload.perplexity, workload.bos));
    evaluation.perplexities.push_back(source.predictions.back().perplexity);
  }
  evaluation.answers = answer_sets(model, tokenizer, workload, results, key);
  evaluation.seconds = watch.seconds();
  return evaluation;
}

namespace {

bool same_vocabulary(const Model& model, const Model& source) {
  if (model.config().vocab == source.config().vocab) return true;
  log_warning("the vocabulary of " + std::to_string(model.config().vocab) + " tokens is not the source's of " +
              std::to_string(source.config().vocab) + ": there is no divergence between them");
  return false;
}

}  // namespace

Evaluation evaluate(const Model& model, const Tokenizer& tokenizer, const Workload& workload,
                    const std::string& results, const Json& key, const Source* source) {
  const Stopwatch watch;
  const bool compares = source != nullptr && !workload.texts.empty() && same_vocabulary(model, *source->model);
  Evaluation evaluation;
  for (std::size_t i = 0; i < workload.texts.size(); ++i) {
    const EvaluationText& text = workload.texts[i];
    if (!compares) {
      evaluation.perplexities.push_back(perplexity(model, text, workload.perplexity, workload.bos));
      continue;
    }
    ComparedPredictions compared =
        compare_predictions(model, *source->model, source->predictions[i], text, workload.perplexity, workload.bos);
    evaluation.perplexities.push_back(std::move(compared.perplexity));
    evaluation.divergences.push_back(compared.divergence);
  }
  evaluation.answers = answer_sets(model, tokenizer, workload, results, key);
  evaluation.seconds = watch.seconds();
  return evaluation;
}

Json to_json(const Evaluation& evaluation, const Workload& workload) {
  Json json = Json::object();
  for (std::size_t i = 0; i < evaluation.perplexities.size(); ++i) {
    Json text = to_json(evaluation.perplexities[i], workload.perplexity, workload.texts[i]);
    if (i < evaluation.divergences.size()) text["divergence"] = to_json(evaluation.divergences[i]);
    if (i == 0) json["perplexity"] = text;
    if (evaluation.perplexities.size() > 1) json["perplexities"].push_back(std::move(text));
  }
  for (const TaskAnswers& set : evaluation.answers) json["tasks"][set.name] = set_json(set);
  for (const auto& group : by_group(evaluation.answers)) {
    if (group.size() < 2) continue;
    Json& entry = json["groups"][group.front().group];
    for (const std::string& metric : group.front().metrics) entry[metric] = to_json(over_group(group, metric));
    entry["sets"] = group.size();
  }
  json["seconds"] = evaluation.seconds;
  return json;
}

Figures figures(const Evaluation& evaluation, const Model& model) {
  Figures result = {{"parameters", static_cast<double>(model.parameters())},
                    {"bytes", static_cast<double>(model.weight_bytes())}};
  if (!evaluation.perplexities.empty()) result["perplexity"] = evaluation.perplexities.front().value;
  if (!evaluation.divergences.empty()) {
    result["kl"] = evaluation.divergences.front().kl.value;
    result["same_first_choice"] = evaluation.divergences.front().same_first_choice.value;
  }
  std::map<std::string, MeanAccumulator> means;
  for (const auto& group : by_group(evaluation.answers))
    for (const std::string& metric : group.front().metrics) {
      const double value = over_group(group, metric).value;
      result[group.front().group + "." + metric] = value;
      means[metric].add(value);
    }
  for (const auto& [metric, mean] : means)
    if (metric != "perplexity") result[metric] = mean.mean();
  return result;
}

std::string perplexity_lines(const Evaluation& evaluation, const Workload& workload) {
  std::string lines;
  for (std::size_t i = 0; i < evaluation.perplexities.size(); ++i) {
    const PerplexityResult& result = evaluation.perplexities[i];
    const PerplexityOptions& options = workload.perplexity;
    char line[256];
    std::snprintf(line, sizeof line,
                  "perplexity %.4f ± %.4f (%lld tokens scored in %lld windows of %lld, stride %lld, %s BOS; %.4f bits "
                  "per byte)",
                  result.value, result.standard_error, static_cast<long long>(result.tokens),
                  static_cast<long long>(result.windows), static_cast<long long>(options.window),
                  static_cast<long long>(options.stride > 0 ? options.stride : options.window),
                  options.bos ? "with" : "without", result.bits_per_byte);
    lines += line + (evaluation.perplexities.size() > 1 ? " on " + workload.texts[i].source : std::string()) + "\n";
    if (i >= evaluation.divergences.size()) continue;
    const Divergence& divergence = evaluation.divergences[i];
    std::snprintf(line, sizeof line,
                  "  from the source: KL divergence %.5f ± %.5f nats a token, same first choice %.2f %%, RMS change of "
                  "the right token's probability %.2f %%\n",
                  divergence.kl.value, divergence.kl.standard_error, divergence.same_first_choice.value * 100,
                  divergence.rms_difference * 100);
    lines += line;
  }
  return lines;
}

std::vector<std::vector<std::string>> task_rows(const std::vector<TaskAnswers>& answers) {
  std::vector<std::string> columns;
  for (const TaskAnswers& set : answers)
    for (const std::string& metric : set.metrics)
      if (std::ranges::find(columns, metric) == columns.end()) columns.push_back(metric);
  std::vector<std::vector<std::string>> rows = {{"task", "items", "shots"}};
  for (const std::string& column : columns) rows.front().push_back(column == "perplexity" ? column : column + " %");
  for (const auto& group : by_group(answers)) {
    rows.push_back(cells_of(group.front().group, group, columns));
    if (group.size() > 1)
      for (const TaskAnswers& set : group) rows.push_back(cells_of("  " + set.name, {set}, columns));
  }
  return rows;
}

}  // namespace streamline::cli
