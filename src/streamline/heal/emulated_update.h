// SPDX-License-Identifier: Apache-2.0
// Emulated updates: halves and layers that went, and in their place the mean of what they added to the residual stream
// (Siddiqui et al., arXiv 2407.16286, section 3.2.1). The constant is a bias of the last matrix before them.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "streamline/heal/judged_stream.h"

namespace streamline {

// What went between two halves that stay.
struct EmulatedUpdate {
  std::int64_t first = 0, last = 0;  // layers of the source that it lies in
  // Mean squares, over the tokens that judge, of what they added to the stream, and of what then still is missing.
  double before = 0, after = 0;
  // The half that gives the constant, a layer of the source and Role::o or Role::down; empty: none can (`why`), and
  // nothing stands for what went.
  std::optional<std::pair<std::int64_t, Role>> place = {};
  std::string why = {};
};

// Why a bias of the last matrix of a half that the layer has cannot give the stream a constant; empty where it can.
std::string why_no_constant(const Config& config, std::int64_t layer, Role role);

// Takes the stream of the text through halves of `layer` that went, beside the one without them.
void pass_by(const Config& config, const LayerWeights& layer, std::vector<JudgedStream>& streams);

// The mean of what went since the last half that stays, [hidden] fp64; fills in before and after. First positions,
// where massive activations are, count neither for the mean nor for them.
torch::Tensor mean_update(const std::vector<JudgedStream>& streams, EmulatedUpdate& update);

}  // namespace streamline
