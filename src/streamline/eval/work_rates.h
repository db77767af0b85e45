// SPDX-License-Identifier: Apache-2.0
// What pieces of a model's work take on this machine, measured on a layer of it for about a second.
#pragma once

#include <functional>

#include "streamline/engine/model.h"

namespace streamline {

// Seconds a call, after one that does not count; calls for at least `least` seconds.
double repeated_seconds(const std::function<void()>& work, double least = 0.2);

// Seconds a token.
struct ForwardRates {
  double layers = 0;  // through all layers, in sequences of the length that was asked for
  double halves = 0;  // the same with the stream between the halves of layers, as scoring has it
  double head = 0;    // the loss of a prediction
  double decode = 0;  // through all layers and the head, one at a time

  double share(const Model& whole, const Model& part) const;  // of `layers` and `halves` that a part of the model takes
};
// Layers of other shapes count by their parameters.
ForwardRates measure_forward(const Model& model, std::int64_t seq_len);

// Random hidden states, [batch, seq, hidden], in the compute type.
torch::Tensor random_states(const Model& model, std::int64_t batch, std::int64_t seq);
// As many sequences as a layer takes a few tenths of a second for, but no more than run together.
std::int64_t measured_sequences(const Model& model, std::int64_t seq_len);

// How the weights lie: bytes of the model's files that are not in memory, and how fast the disk gives them.
struct WeightFiles {
  std::uint64_t bytes = 0, on_disk = 0;
  double bytes_per_second = 0;  // 0: not measured, all of them are in memory
};
WeightFiles measure_files(const Model& model);
// How fast a new file is written and reaches the disk, in scratch_directory().
double measure_writing();

}  // namespace streamline
