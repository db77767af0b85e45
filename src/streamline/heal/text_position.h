// SPDX-License-Identifier: Apache-2.0
// Where a training run stands in its text: which sequences come next, shuffled anew each epoch by the seed.
#pragma once

#include "streamline/base/json.h"
#include "streamline/base/random.h"
#include "streamline/heal/pace.h"

namespace streamline {

class TextPosition {
 public:
  explicit TextPosition(Rng rng) : rng_(rng) {}

  // The sequences of the next optimizer step; the last step of an epoch takes what is left.
  Indices next(const Pace& pace);

  Json to_json() const;
  // What to_json() wrote, in a run of the same pace. Errors: format, naming `where`.
  static TextPosition from_json(const Json& json, const Pace& pace, const std::string& where);

 private:
  Rng rng_;
  std::uint64_t epoch_state_ = 0;  // of rng_, before the order was drawn
  Indices order_ = {};             // of this epoch's sequences; empty between epochs
  std::int64_t taken_ = 0;         // of them
};

}  // namespace streamline
