// SPDX-License-Identifier: Apache-2.0
// A training run as it stands, on disk: one safetensors file, replaced as a whole, from which an interrupted run goes
// on to the same bits.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "streamline/base/json.h"
#include "streamline/engine/tensor_file.h"

namespace streamline {

struct TrainState {
  Json run;                        // key (state_key.h) of all that decides the run's result
  Json progress = Json::object();  // position, random state, curves
  NamedTensors tensors = {};       // fp32 or wider

  const torch::Tensor& at(const std::string& name) const;  // format error when absent
};

// durable: whether a run may go on from it when the machine has failed. Errors: io (disk full …); what was there before
// stays.
void save_train_state(const TrainState& state, const std::filesystem::path& path, Durable durable = Durable::now);

// nullopt when there is no such file. Errors: format for a broken file, mismatch for the state of another run, with
// what to do.
std::optional<TrainState> load_train_state(const std::filesystem::path& path, const Json& run);
// Its progress alone.
std::optional<Json> load_progress(const std::filesystem::path& path, const Json& run);

// The files in a folder, which need not be there, that may be states; by name.
std::vector<std::filesystem::path> states_in(const std::filesystem::path& folder);

// Before the work: that the states in a folder, which need not be there, are of a run of which so far these parts of
// the key are known. Errors: those of load_train_state(), also for a .safetensors file that is no state.
void check_train_states(const std::filesystem::path& folder, const Json& known);

}  // namespace streamline
