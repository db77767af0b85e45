// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/results_files.h"

#include "streamline/base/error.h"
#include "streamline/tasks/answers_file.h"
#include "streamline/tasks/lm_eval_files.h"
#include "streamline/tasks/opencompass_files.h"
#include "streamline/text/text_lines.h"

namespace streamline {
namespace fs = std::filesystem;
namespace {

std::string first_line(const fs::path& file) {
  std::string first;
  read_lines(file, [&](std::string_view line, std::int64_t, std::int64_t) {
    first = line;
    return false;
  });
  return first;
}

Results read_file(const fs::path& file) {
  const std::string first = first_line(file);
  if (first.find("\"streamline-answers\"") != std::string::npos)
    return {ResultsFormat::streamline, {read_answers(file).set}};
  if (first.find("\"doc_id\"") != std::string::npos) return {ResultsFormat::lm_eval, {read_lm_eval_samples(file)}};
  if (is_opencompass(file)) return {ResultsFormat::opencompass, {read_opencompass(file)}};
  fail(ErrorKind::format, file.string(),
       ": neither answers of streamline, nor samples of lm-evaluation-harness, nor predictions of OpenCompass");
}

// Whether a file of this kind lies in the folder, at most `depth` folders below.
template <class Kind>
bool holds(const fs::path& folder, int depth, const Kind& kind) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.is_regular_file(error) && kind(entry.path())) return true;
    if (depth > 0 && entry.is_directory(error) && holds(entry.path(), depth - 1, kind)) return true;
  }
  return false;
}

bool is_samples(const fs::path& file) {
  return file.extension() == ".jsonl" && file.filename().string().starts_with("samples_");
}

bool is_predictions(const fs::path& file) { return file.extension() == ".json" && is_opencompass(file); }

Results read_folder(const fs::path& folder) {
  Results results;
  for (const Style style : {Style::lm_eval, Style::opencompass})
    for (AnswersFile& file : read_all_answers(folder, style)) results.sets.push_back(std::move(file.set));
  if (!results.sets.empty()) return results;
  if (holds(folder, 1, is_samples)) return {ResultsFormat::lm_eval, read_lm_eval_folder(folder)};
  if (holds(folder, 2, is_predictions)) return {ResultsFormat::opencompass, read_opencompass_folder(folder)};
  fail(
      ErrorKind::io, folder.string(),
      ": no results there; expected answers/ (streamline eval --out), samples_TASK_TIME.jsonl (lm_eval --log_samples) ",
      "or DATASET.json (OpenCompass's predictions)");
}

}  // namespace

std::string_view name(ResultsFormat format) {
  switch (format) {
    case ResultsFormat::streamline:
      return "streamline";
    case ResultsFormat::lm_eval:
      return "lm-eval samples";
    case ResultsFormat::opencompass:
      return "opencompass predictions";
  }
  fail(ErrorKind::internal, "unknown format of results");
}

Results read_results(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) fail(ErrorKind::io, path.string(), ": no such file or folder");
  return fs::is_directory(path, error) ? read_folder(path) : read_file(path);
}

}  // namespace streamline
