// SPDX-License-Identifier: Apache-2.0
// The residual stream of a text on its way through layers that are fitted one after another: part of it teaches, part
// judges what was learnt.
#pragma once

#include <vector>

#include "streamline/engine/model.h"
#include "streamline/text/corpus.h"

namespace streamline {

// The stream of some sequences of one length.
struct JudgedStream {
  torch::Tensor x;  // [sequences, tokens, hidden]
  Positions positions;
  bool judges = false;
  // x, had nothing gone since the last half that stays; undefined where nothing has.
  torch::Tensor intact = {};
};

// The embedded text; every eighth sequence, and the last one, judges.
std::vector<JudgedStream> judged_streams(const Model& model, const TokenBatches& text);

}  // namespace streamline
