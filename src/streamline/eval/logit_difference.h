// SPDX-License-Identifier: Apache-2.0
// How far what a model says lies from what a reference says, row by row: distance of the logits, and divergence of the
// distributions.
#pragma once

#include <vector>

#include "streamline/engine/model.h"

namespace streamline {

struct LogitDifference {
  double l2 = 0;  // |a - b| over the vocabulary, of raw logits
  double kl = 0;  // of softmax(a) || softmax(b), nats
};

// reference: [rows, hidden] after the last layer, before the final norm, whose logits are a; hidden: [k * rows,
// hidden], the same rows k times over, whose logits are b. One result a row of `hidden`. Logits in the compute type,
// sums in double, piece by piece of the vocabulary. Not a number where a logit is none.
std::vector<LogitDifference> logit_differences(const Model& model, const torch::Tensor& reference,
                                               const torch::Tensor& hidden);

}  // namespace streamline
