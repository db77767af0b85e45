// SPDX-License-Identifier: Apache-2.0
#include "shipped_text.h"

#include <filesystem>

#include "evaluation.h"
#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"

namespace streamline::cli {
namespace fs = std::filesystem;

std::optional<std::string> shipped_file(const std::string& name) {
  const fs::path program = program_folder();
  if (program.empty()) return std::nullopt;
  std::error_code error;
  // bin/ beside share/, or build/release/ in the checkout.
  for (const fs::path& folder :
       {program.parent_path() / "share/streamline/text", program.parent_path().parent_path() / "models/text"})
    if (fs::is_regular_file(folder / name, error)) return (folder / name).string();
  return std::nullopt;
}

std::string shipped_name(const std::string& path, const std::string& source) {
  return "shipped/" + fs::path(path).filename().string() + source.substr(path.size());
}

void take_shipped_text(DataOptions& data) {
  if (!data.path.empty()) return;
  const std::optional<std::string> found = shipped_file("calibration.jsonl");
  if (!found)
    fail(ErrorKind::usage, "--data is required: the books that come with the program are not there; give a text");
  data.shipped = true;
  data.shuffle = true;  // else the first book alone would be read
  data.path = *found;
}

void take_shipped_text(EvaluationOptions& evaluation) {
  if (!evaluation.texts.empty() || !evaluation.tasks.empty()) return;
  const std::optional<std::string> found = shipped_file("valid.txt");
  if (!found) return;
  evaluation.shipped = true;
  evaluation.texts = {*found};
  if (evaluation.perplexity.max_windows == 0) evaluation.perplexity.max_windows = kShippedWindows;
}

void tell_of_shipped_text(const DataOptions& data) {
  if (data.shipped)
    log_info(
        "no --data: choosing by the shipped books (13, in English); give text like your model's use for a choice that "
        "holds");
}

void tell_of_shipped_text(const EvaluationOptions& evaluation) {
  if (evaluation.shipped)
    log_info("no --perplexity, no --tasks: measuring on the first " +
             counted(evaluation.perplexity.max_windows, "window") +
             " of other shipped books; give text and tasks like your model's use for figures that count");
}

}  // namespace streamline::cli
