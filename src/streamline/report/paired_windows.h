// SPDX-License-Identifier: Apache-2.0
// How far the perplexities of two models are apart, window by window: far less uncertain than either by itself.
#pragma once

#include <optional>

#include "streamline/base/json.h"
#include "streamline/base/stats.h"

namespace streamline::report {

// ln(perplexity of `model` / of `source`), entries of "models" that were read on the same windows of the same text,
// each as many tokens; nothing where they were not, or no windows are recorded. As log_perplexity_ratio() of eval/.
std::optional<Estimate> paired_log_ratio(const Json& model, const Json& source);

}  // namespace streamline::report
