// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/train_state.h"

#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/state_key.h"
#include "streamline/io/safetensors.h"

namespace streamline {

const torch::Tensor& TrainState::at(const std::string& name) const {
  for (const auto& [key, tensor] : tensors)
    if (key == name) return tensor;
  fail(ErrorKind::format, "the training state has no '", name, "'; delete it to begin anew");
}

void save_train_state(const TrainState& state, const std::filesystem::path& path, Durable durable) {
  TensorFile(state.tensors, {{"run", state.run.dump()}, {"progress", state.progress.dump()}}).write(path, durable);
}

namespace {

bool is_there(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// All but the tensors.
TrainState without_tensors(const Blob& file, const std::string& where) {
  const auto metadata = safetensors_metadata(file.bytes, where);
  TrainState state;
  if (metadata.count("run") == 0 || metadata.count("progress") == 0)
    fail(ErrorKind::format, where, ": this is no training state; give another --state");
  const std::string& run = metadata.at("run");
  state.run = Json::accept(run) ? parse_json(run, where) : Json(run);  // once it was a digest
  state.progress = parse_json(metadata.at("progress"), where);
  return state;
}

void check_same(const Json& kept, const Json& mine, const std::string& where) {
  const std::string other = difference(kept, mine, "run");
  if (!other.empty()) fail(ErrorKind::mismatch, where, ": ", other, "; delete it, or give another --state");
}

TrainState without_tensors_of(const Blob& file, const std::string& where, const Json& run) {
  TrainState state = without_tensors(file, where);
  check_same(state.run, run, where);
  return state;
}

}  // namespace

std::vector<std::filesystem::path> states_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  std::error_code ignored;  // a folder that is not there has none
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored))
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  std::ranges::sort(files);
  return files;
}

std::optional<Json> load_progress(const std::filesystem::path& path, const Json& run) {
  if (!is_there(path)) return std::nullopt;
  return without_tensors_of(map_file(path), path.string(), run).progress;
}

void check_train_states(const std::filesystem::path& folder, const Json& known) {
  for (const std::filesystem::path& file : states_in(folder)) {
    const Json kept = without_tensors(map_file(file), file.string()).run;
    check_same(parts_named_in(known, kept), known, file.string());
  }
}

std::optional<TrainState> load_train_state(const std::filesystem::path& path, const Json& run) {
  if (!is_there(path)) return std::nullopt;
  const Blob file = map_file(path);
  const auto infos = parse_safetensors(file.bytes, path.string());
  TrainState state = without_tensors_of(file, path.string(), run);
  for (const TensorInfo& info : infos) state.tensors.emplace_back(info.name, read_tensor(info, file));
  return state;
}

}  // namespace streamline
