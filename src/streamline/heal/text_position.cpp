// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/text_position.h"

#include <algorithm>

#include "streamline/base/error.h"

namespace streamline {

Indices TextPosition::next(const Pace& pace) {
  if (order_.empty()) {
    epoch_state_ = rng_.state();
    order_ = permutation(pace.sequences, rng_);
  }
  const std::int64_t end = std::min(taken_ + pace.sequences_per_step, pace.sequences);
  Indices sequences(order_.begin() + taken_, order_.begin() + end);
  taken_ = end;
  if (taken_ == pace.sequences) {
    order_.clear();
    taken_ = 0;
  }
  return sequences;
}

Json TextPosition::to_json() const {
  return {{"in_epoch", !order_.empty()}, {"random", order_.empty() ? rng_.state() : epoch_state_}, {"taken", taken_}};
}

TextPosition TextPosition::from_json(const Json& json, const Pace& pace, const std::string& where) {
  try {
    TextPosition position(Rng(json.at("random").get<std::uint64_t>()));
    position.taken_ = json.at("taken").get<std::int64_t>();
    if (position.taken_ < 0 || position.taken_ >= pace.sequences)
      fail(ErrorKind::format, where, ": the training state stands at sequence ", position.taken_, " of ",
           pace.sequences);
    if (!json.at("in_epoch").get<bool>()) return position;
    position.epoch_state_ = position.rng_.state();
    position.order_ = permutation(pace.sequences, position.rng_);
    return position;
  } catch (const Json::exception& error) {
    fail(ErrorKind::format, where, ": the training state's position is broken (", error.what(), ")");
  }
}

}  // namespace streamline
