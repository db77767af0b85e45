// SPDX-License-Identifier: Apache-2.0
#include "kept.h"

#include <algorithm>

#include "rank_group.h"
#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/json.h"
#include "streamline/tasks/answers_file.h"

namespace streamline::cli {
namespace fs = std::filesystem;
namespace {

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
Json answers_key(const Keep& keep, const Workload& workload, const TaskSet& set) {
  Json key = keep.key;
  key["questions"] = digest(set);
  key["bos"] = workload.scoring.bos;
  key["max_tokens"] = workload.scoring.max_tokens;
  return key;
}

Json perplexity_key(const Keep& keep, const Workload& workload, const EvaluationText& text, const Json& source) {
  Json key = keep.key;
  key.erase("seed");  // nothing is drawn
  key["text"] = text.digest;
  key["window"] = workload.perplexity.window;
  key["stride"] = workload.perplexity.stride;
  key["max_windows"] = workload.perplexity.max_windows;
  key["bos"] = workload.perplexity.bos;
  key["source"] = source;
  return key;
}

bool other_model(const Json& found, const Json& wanted) {
  for (const char* part : {"model", "plan"})
    if (!found.is_object() || found.value(part, Json()) != wanted.value(part, Json())) return true;
  return false;
}

// What `read` finds in the file; nothing where there is none, or it is to be replaced.
template <class File>
std::optional<File> read_kept(const Keep& keep, const fs::path& path, File (*read)(const fs::path&)) {
  std::error_code error;
  if (keep.folder.empty() || !fs::exists(path, error)) return std::nullopt;
  std::optional<File> file;
  try {
    file = read(path);
  } catch (const Error& damage) {
    if (keep.overwrite) return std::nullopt;
    fail(damage.kind(), damage.what(), "; delete this file, choose another --out, or pass --overwrite");
  }
  if (!other_model(file->key, keep.key)) return file;
  if (keep.overwrite) return std::nullopt;
  fail(ErrorKind::io, path.string(), ": was left by another model or plan; choose another --out, or pass --overwrite");
}

struct TrainingFile {
  Json key, training;
};

TrainingFile read_training(const fs::path& path) {
  const Json json = parse_json(read_text(path), path.string());
  if (!json.is_object() || !json.contains("key") || !json.contains("training"))
    fail(ErrorKind::format, path.string(), ": does not say what a training came to");
  return {.key = json["key"], .training = json["training"]};
}

fs::path training_path(const Keep& keep) { return fs::path(keep.folder) / "training.json"; }

std::optional<AnswersFile> answers_file(const Keep& keep, const TaskSet& set) {
  return read_kept(keep, answers_path(keep.folder, set.style, set.name), read_answers);
}

std::optional<KeptPerplexity> perplexity_file(const Keep& keep, const EvaluationText& text) {
  return read_kept(keep, perplexity_path(keep.folder, text), read_perplexity);
}

}  // namespace

void check_kept(const Keep& keep, const Workload& workload) {
  for (const EvaluationText& text : workload.texts) perplexity_file(keep, text);
  for (const TaskSet& set : workload.sets) answers_file(keep, set);
  kept_training(keep);
}

std::optional<TaskAnswers> kept_answers(const Keep& keep, const Workload& workload, const TaskSet& set) {
  std::optional<AnswersFile> file = answers_file(keep, set);
  if (!file || file->key != answers_key(keep, workload, set)) return std::nullopt;
  return std::move(file->set);
}

void keep_answers(const Keep& keep, const Workload& workload, const TaskSet& set, const TaskAnswers& answers) {
  if (!keep.folder.empty() && ranks().first()) write_answers(keep.folder, answers, answers_key(keep, workload, set));
}

std::optional<KeptPerplexity> kept_perplexity(const Keep& keep, const Workload& workload, const EvaluationText& text,
                                              const Json& source) {
  std::optional<KeptPerplexity> file = perplexity_file(keep, text);
  if (!file || file->key != perplexity_key(keep, workload, text, source)) return std::nullopt;
  return file;
}

void keep_perplexity(const Keep& keep, const Workload& workload, const EvaluationText& text, const Json& source,
                     KeptPerplexity kept) {
  if (keep.folder.empty() || !ranks().first()) return;
  kept.key = perplexity_key(keep, workload, text, source);
  write_perplexity(perplexity_path(keep.folder, text), kept);
}

std::optional<Json> kept_training(const Keep& keep) {
  std::optional<TrainingFile> file = read_kept(keep, training_path(keep), read_training);
  if (!file || file->key != keep.key) return std::nullopt;
  return std::move(file->training);
}

void keep_training(const Keep& keep, const Json& training) {
  if (keep.folder.empty() || !ranks().first()) return;
  fs::create_directories(keep.folder);
  write_text(training_path(keep), dump_json({{"key", keep.key}, {"training", training}}));
}

bool all_kept(const Keep& keep, const Workload& workload, const Json& source) {
  return std::ranges::all_of(
             workload.texts,
             [&](const EvaluationText& text) { return kept_perplexity(keep, workload, text, source).has_value(); }) &&
         std::ranges::all_of(workload.sets,
                             [&](const TaskSet& set) { return kept_answers(keep, workload, set).has_value(); });
}

}  // namespace streamline::cli
