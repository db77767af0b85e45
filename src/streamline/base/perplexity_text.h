// SPDX-License-Identifier: Apache-2.0
// How perplexities are written for people: on the terminal, on pages and on cards alike.
#pragma once

#include <optional>
#include <string>

#include "streamline/base/json.h"

namespace streamline {

// "58.71"; from 10000 on three digits, "1.23e+04".
std::string perplexity_text(double value);
// "58.71 ± 1.97"
std::string perplexity_text(double value, std::optional<double> standard_error);
// Of {"value": …, "standard_error": …}, which may be null; nothing without a value.
std::optional<std::string> perplexity_text(const Json& measured);

// "32704 tokens scored in windows of 512, stride 512, without BOS" of {"tokens": …, "window": …, "stride": …,
// "bos": …}, as much as there is of it.
std::string windows_text(const Json& measured);

}  // namespace streamline
