// SPDX-License-Identifier: Apache-2.0
// How fast this machine reads a model's weights: the limit of decoding, which needs all of them for each token.
#pragma once

#include "streamline/engine/model.h"

namespace streamline {

// Seconds in which all threads together read, once, every matrix that one decoded token needs: those of the layers, of
// experts as many as a token takes, and the head. 0 on other devices than the CPU.
double weight_reading_seconds(const Model& model);

}  // namespace streamline
