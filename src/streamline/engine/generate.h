// SPDX-License-Identifier: Apache-2.0
// Text generation with a key/value cache: for looking at a model and for measuring its decode speed.
#pragma once

#include <functional>
#include <span>

#include "streamline/engine/decoder.h"
#include "streamline/text/tokenizer.h"

namespace streamline {

struct GenerateOptions {
  std::int64_t max_tokens = 64;
  double temperature = 0;  // 0: greedy
  double top_p = 1;        // nucleus (Holtzman et al. 2020)
  std::uint64_t seed = 0;
  std::vector<TokenId> stop = {};  // e.g. EOS; not part of the result
};

// New tokens after `prompt` (not empty). `on_token` sees each as it is made; return false to stop.
// Errors: mismatch when prompt + max_tokens exceeds the model's positions.
std::vector<TokenId> generate(const PhasedModel& model, const std::vector<TokenId>& prompt,
                              const GenerateOptions& options, const std::function<bool(TokenId)>& on_token = {});

}  // namespace streamline
