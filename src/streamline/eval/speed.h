// SPDX-License-Identifier: Apache-2.0
// Measured speed: prefill and decode tokens a second, and the rate of bare matrix products of the same shapes.
#pragma once

#include "streamline/engine/decoder.h"

namespace streamline {

struct SpeedOptions {
  std::int64_t prompt = 512, decode = 32, repetitions = 3;  // decode = 0: prefill only
  std::int64_t batch = 1;
};
struct SpeedResult {
  double prefill_tokens_per_second = 0;  // medians over the repetitions
  double decode_tokens_per_second = 0;
  double gemm_tokens_per_second = 0;    // what the layers' matrix products alone would allow at `prompt` tokens
  double memory_tokens_per_second = 0;  // what reading the weights once for each step of decoding alone would allow
  std::uint64_t peak_memory = 0;
};

// With `with_limits` also what bounds both, measured in turn with them. Random tokens (seeded): the work does not
// depend on them. One unmeasured run comes first, which brings the weights into memory. Tokens are decoded behind the
// prompt, or behind as much of it as the model's positions leave room for. Errors: usage for counts below 1, mismatch
// when prompt or decode exceeds the model's positions.
SpeedResult measure_speed(const PhasedModel& model, const SpeedOptions& options, bool with_limits);
Json to_json(const SpeedResult& result, const SpeedOptions& options);

}  // namespace streamline
