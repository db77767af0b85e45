// SPDX-License-Identifier: Apache-2.0
#include "training.h"

#include <filesystem>
#include <fstream>
#include <memory>

#include "shipped_text.h"
#include "streamline/base/error.h"

namespace streamline::cli {
namespace {

// A state, or what a process that was killed had written of one.
bool is_state(const std::filesystem::path& file) {
  const bool part = file.extension().string().starts_with(".part-");
  return (part ? file.stem() : file).extension() == ".safetensors";
}

}  // namespace

SplitSequences load_training_text(const OpenedModel& opened, const DataOptions& data, std::int64_t tokens,
                                  std::int64_t validation_sequences, std::uint64_t seed,
                                  const std::string& when_short) {
  PackOptions pack;
  pack.when_short = when_short;
  pack.seq_len = sequence_length(opened, data);
  pack.samples = (tokens + pack.seq_len - 1) / pack.seq_len;
  pack.shuffle = true;
  pack.seed = seed;
  pack.prepend_bos = resolve_bos(data.bos, *opened.tokenizer);
  const CorpusOptions corpus = data.shipped ? CorpusOptions{} : data.corpus;
  SplitSequences split = load_split(data.path, corpus, *opened.tokenizer, pack, validation_sequences);
  if (data.shipped)
    for (TokenBatches* part : {&split.training, &split.validation})
      part->source = shipped_name(data.path, part->source);
  check_token_range(split.training, opened.model.config().vocab);
  check_token_range(split.validation, opened.model.config().vocab);
  return split;
}

std::string nothing_learnt(const HealResult& result, const std::string& advice) {
  if (result.last().best_step > 0) return {};
  return "nothing was learnt: after no step the held-out text was likelier than before the training, and the model is "
         "as it was; " +
         advice;
}

std::function<void(const Json&)> json_lines(const std::string& path) {
  if (path.empty()) return {};
  auto file = std::make_shared<std::ofstream>(path, std::ios::app);
  if (!*file) fail(ErrorKind::io, path, ": cannot be opened for writing");
  return [file](const Json& record) { *file << record.dump() << std::endl; };
}

std::filesystem::path search_state_file(const std::string& directory) {
  return std::filesystem::path(directory) / "search.json";
}

Output resumable(const std::string& directory, const std::function<Output()>& work) {
  try {
    return work();
  } catch (const Error& error) {
    std::error_code none;
    if (error.kind() != ErrorKind::interrupted || directory.empty() || std::filesystem::is_empty(directory, none) ||
        none)
      throw;
    fail(error.kind(), error.what(), "; goes on from ", directory, " when it is repeated");
  }
}

Output with_state(const std::string& directory, const std::function<Output()>& work) {
  std::error_code none;
  for (const char* file : {"config.json", "adapter_config.json"})
    if (!directory.empty() && std::filesystem::exists(std::filesystem::path(directory) / file, none))
      fail(ErrorKind::usage, "--state ", directory,
           ": a model lies there; name a directory that the state has to itself");
  return resumable(directory, work);
}

void remove_state(const std::string& directory) {
  if (directory.empty()) return;
  std::error_code ignored;  // what cannot be removed does no harm
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored))
    if (is_state(entry.path())) std::filesystem::remove(entry.path(), ignored);
  std::filesystem::remove(search_state_file(directory), ignored);
  std::filesystem::remove(directory, ignored);
}

}  // namespace streamline::cli
