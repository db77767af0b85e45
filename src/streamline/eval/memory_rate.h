// SPDX-License-Identifier: Apache-2.0
// How fast this machine reads a model's weights: the limit of decoding, which needs all of them for each token.
#pragma once

#include "streamline/engine/model.h"

namespace streamline {

// Seconds in which all threads together read, once, the matrices of the layers and the head, as a step of decoding so
// many sequences needs them: of experts as many as their tokens can take. 0 on other devices than the CPU.
double weight_reading_seconds(const Model& model, std::int64_t sequences);

}  // namespace streamline
