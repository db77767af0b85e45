// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/perplexity_text.h"

#include <cmath>
#include <tuple>

#include "streamline/base/number_text.h"

namespace streamline {
namespace {

std::optional<double> finite(const Json& json, const char* key) {
  if (!json.is_object() || !json.contains(key) || !json[key].is_number()) return std::nullopt;
  const auto value = json[key].get<double>();
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

}  // namespace

std::string perplexity_text(double value) { return std::abs(value) < 10000 ? fixed(value, 2) : general(value, 3); }

std::string perplexity_text(double value, std::optional<double> standard_error) {
  return perplexity_text(value) + (standard_error ? " ± " + perplexity_text(*standard_error) : "");
}

std::optional<std::string> perplexity_text(const Json& measured) {
  const auto value = finite(measured, "value");
  return value ? std::optional(perplexity_text(*value, finite(measured, "standard_error"))) : std::nullopt;
}

std::string windows_text(const Json& measured) {
  std::string text;
  for (const auto& [key, before, after] :
       {std::tuple("tokens", "", " tokens scored"), {"window", " in windows of ", ""}, {"stride", ", stride ", ""}})
    if (const auto count = finite(measured, key)) text += before + fixed(*count, 0) + after;
  if (measured.is_object() && measured.contains("bos") && measured["bos"].is_boolean())
    text += measured["bos"].get<bool>() ? ", with BOS" : ", without BOS";
  return text;
}

}  // namespace streamline
