// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <ctime>

#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/version.h"
#include "streamline/tasks/answers_file.h"
#include "streamline/tasks/harness_names.h"
#include "streamline/tasks/lm_eval_files.h"
#include "streamline/tasks/lm_eval_samples.h"

namespace streamline {
namespace fs = std::filesystem;
namespace {

using Group = std::vector<TaskAnswers>;

// The tasks that were split into several sets.
std::vector<Group> groups_of(std::span<const TaskAnswers> answers) {
  std::vector<Group> groups = by_group(answers);
  std::erase_if(groups, [](const Group& group) { return group.size() < 2 || group.front().group.empty(); });
  return groups;
}

void add_metric(Json& row, const std::string& metric, const Estimate& estimate) {
  row[metric + ",none"] = estimate.value;
  row[metric + "_stderr,none"] = estimate.standard_error ? Json(*estimate.standard_error) : Json("N/A");
}

Json set_row(const TaskAnswers& set) {
  Json row = {{"name", set.name}, {"alias", set.name}, {"sample_len", set.answers.size()}};
  for (const std::string& name : set.metrics) add_metric(row, name, metric(set, name));
  return row;
}

Json group_row(const Group& group) {
  std::size_t questions = 0;
  for (const TaskAnswers& set : group) questions += set.answers.size();
  Json row = {{"alias", group.front().group}, {"name", group.front().group}, {"sample_len", questions}},
       counts = Json::object();
  for (const std::string& name : group.front().metrics) {
    add_metric(row, name, group_metric(group, name, true));
    counts[name + ",none"] = questions;
  }
  row["sample_count"] = counts;
  return row;
}

bool is_better_higher(const std::string& metric) { return metric != "perplexity"; }

Json config(const TaskAnswers& set) {
  Json metrics = Json::array();
  for (const std::string& metric : set.metrics)
    metrics.push_back({{"metric", metric},
                       {"aggregation", metric == "perplexity" ? "perplexity" : "mean"},
                       {"higher_is_better", is_better_higher(metric)}});
  return {{"task", set.name},
          {"dataset_path", "json"},
          {"dataset_kwargs", {{"data_files", set.source}}},
          {"num_fewshot", set.shots},
          {"metric_list", metrics},
          {"output_type", set.rule == Rule::greedy ? "loglikelihood" : "multiple_choice"},
          {"repeats", 1},
          {"metadata", {{"version", 1.0}, {"data_sha256", set.digest}}}};
}

// The tables of the results file that have an entry a task.
Json tables(std::span<const TaskAnswers> answers, const std::vector<Group>& groups) {
  Json results = Json::object(), configs = results, versions = results, shots = results, better = results;
  Json samples = results, group_rows = results, members = results;
  for (const TaskAnswers& set : answers) {
    results[set.name] = set_row(set);
    configs[set.name] = config(set);
    versions[set.name] = 1.0;
    shots[set.name] = set.shots;
    better[set.name] = Json::object();
    for (const std::string& metric : set.metrics) better[set.name][metric] = is_better_higher(metric);
    samples[set.name] = {{"original", set.items_in_data}, {"effective", set.answers.size()}};
  }
  for (const Group& group : groups) {
    const std::string& name = group.front().group;
    results[name] = group_rows[name] = group_row(group);
    versions[name] = 1.0;
    shots[name] = group.front().shots;
    better[name] = better[group.front().name];
    for (const TaskAnswers& set : group) members[name].push_back(set.name);
  }
  Json all = {{"results", results}};
  if (!groups.empty()) all["groups"] = group_rows;
  all.update({{"group_subtasks", members},
              {"configs", configs},
              {"versions", versions},
              {"n-shot", shots},
              {"higher_is_better", better},
              {"n-samples", samples}});
  return all;
}

// The run's settings; what this program has no notion of is null.
Json settings(const LmEvalRun& run) {
  Json config = {{"model", "streamline"}, {"model_args", {{"pretrained", run.model}}}};
  for (const char* key : {"model_num_parameters", "model_dtype", "model_revision", "model_sha", "batch_size"})
    config[key] = nullptr;
  config["batch_sizes"] = Json::array();
  for (const char* key : {"device", "use_cache", "limit"}) config[key] = nullptr;
  config["bootstrap_iters"] = 0;
  config["gen_kwargs"] = Json::object();
  for (const char* key : {"random_seed", "numpy_seed", "torch_seed", "fewshot_seed"}) config[key] = nullptr;
  for (const auto& [key, value] : run.config.items()) config[key] = value;
  return config;
}

// 2026-11-29T10-05-17.429988
std::string time_name(double started) {
  const auto seconds = static_cast<std::time_t>(std::floor(started));
  const auto microseconds = static_cast<int>((started - std::floor(started)) * 1e6);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char date[32], name[48];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H-%M-%S", &parts);
  std::snprintf(name, sizeof name, "%s.%06d", date, microseconds);
  return name;
}

// Under the harness's name; a set that is a task of its own stays one.
TaskAnswers renamed(TaskAnswers set, const TaskSet& questions) {
  if (questions.also.empty()) return set;
  if (set.group == set.name) set.group = questions.also;
  set.name = questions.also;
  return set;
}

// Returns the digest of the questions that the results file has.
std::string write_samples(const fs::path& file, const TaskAnswers& set, const TaskSet& questions) {
  OutputFile output(file);
  Sha256 digest;
  for (std::size_t i = 0; i < set.answers.size(); ++i) {
    const Json sample = lm_eval_sample(set, questions, i);
    for (const char* key : {"doc_hash", "prompt_hash", "target_hash"})
      digest.update(sample[key].get_ref<const std::string&>());
    output.write(sample.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  }
  output.commit();
  return digest.hex();
}

}  // namespace

void write_lm_eval(const fs::path& folder, std::span<const TaskAnswers> answers, std::span<const TaskSet> questions,
                   const LmEvalRun& run) {
  SL_ASSERT(!answers.empty() && answers.size() == questions.size());
  const std::string time = time_name(run.started), model = model_folder(run.model);
  const fs::path target = folder / "lm-eval" / model;
  Json digests = Json::object();
  std::vector<TaskAnswers> sets;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const TaskAnswers& set = sets.emplace_back(renamed(answers[i], questions[i]));
    SL_ASSERT(set.style == Style::lm_eval && set.answers.size() == questions[i].items.size());
    check_set_name(set.name);
    digests[set.name] = write_samples(target / ("samples_" + set.name + "_" + time + ".jsonl"), set, questions[i]);
  }
  Json results = tables(sets, groups_of(sets));
  results.update({{"config", settings(run)},
                  {"git_hash", nullptr},
                  {"date", run.started},
                  {"pretty_env_info", "streamline.cpp " + std::string(program_version())},
                  {"transformers_version", nullptr},
                  {"lm_eval_version", nullptr},
                  {"upper_git_hash", nullptr},
                  {"task_hashes", digests},
                  {"model_source", "streamline"},
                  {"model_name", run.model},
                  {"model_name_sanitized", model},
                  {"system_instruction", nullptr},
                  {"system_instruction_sha", nullptr},
                  {"fewshot_as_multiturn", nullptr},
                  {"chat_template", nullptr},
                  {"chat_template_sha", nullptr},
                  {"total_evaluation_time_seconds", Json(run.seconds).dump()}});
  write_text(target / ("results_" + time + ".json"), dump_json(results));
}

}  // namespace streamline
