// SPDX-License-Identifier: Apache-2.0
// A training run as it stands, on disk: one safetensors file, replaced as a whole, from which an interrupted run goes
// on to the same bits.
#pragma once

#include <filesystem>
#include <optional>

#include "streamline/base/json.h"
#include "streamline/engine/tensor_file.h"

namespace streamline {

struct TrainState {
  std::string run;                 // digest of all that decides the run's result
  Json progress = Json::object();  // position, random state, curves
  NamedTensors tensors = {};       // fp32 or wider

  const torch::Tensor& at(const std::string& name) const;  // format error when absent
};

// durable: whether a run may go on from it when the machine has failed. Errors: io (disk full …); what was there before
// stays.
void save_train_state(const TrainState& state, const std::filesystem::path& path, Durable durable = Durable::now);

// nullopt when there is no such file. Errors: format for a broken file, mismatch for the state of another run, with
// what to do.
std::optional<TrainState> load_train_state(const std::filesystem::path& path, const std::string& run);
// Its progress alone.
std::optional<Json> load_progress(const std::filesystem::path& path, const std::string& run);

}  // namespace streamline
