// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/train_state.h"

#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/io/safetensors.h"

namespace streamline {

const torch::Tensor& TrainState::at(const std::string& name) const {
  for (const auto& [key, tensor] : tensors)
    if (key == name) return tensor;
  fail(ErrorKind::format, "the training state has no '", name, "'; delete it to begin anew");
}

void save_train_state(const TrainState& state, const std::filesystem::path& path, Durable durable) {
  TensorFile(state.tensors, {{"run", state.run}, {"progress", state.progress.dump()}}).write(path, durable);
}

namespace {

bool is_there(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// All but the tensors.
TrainState without_tensors(const Blob& file, const std::string& where, const std::string& run) {
  const auto metadata = safetensors_metadata(file.bytes, where);
  TrainState state;
  if (metadata.count("run") == 0 || metadata.count("progress") == 0)
    fail(ErrorKind::format, where, ": this is no training state; give another --state");
  state.run = metadata.at("run");
  if (state.run != run)
    fail(ErrorKind::mismatch, where,
         ": the state of another run (other model, text or options); delete it, or give "
         "another --state");
  state.progress = parse_json(metadata.at("progress"), where);
  return state;
}

}  // namespace

std::optional<Json> load_progress(const std::filesystem::path& path, const std::string& run) {
  if (!is_there(path)) return std::nullopt;
  return without_tensors(map_file(path), path.string(), run).progress;
}

std::optional<TrainState> load_train_state(const std::filesystem::path& path, const std::string& run) {
  if (!is_there(path)) return std::nullopt;
  const Blob file = map_file(path);
  const auto infos = parse_safetensors(file.bytes, path.string());
  TrainState state = without_tensors(file, path.string(), run);
  for (const TensorInfo& info : infos) state.tensors.emplace_back(info.name, read_tensor(info, file));
  return state;
}

}  // namespace streamline
