// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/paired_windows.h"

#include <array>

#include "streamline/report/fields.h"

namespace streamline::report {
namespace {

// Windows that overlap are not of one length.
bool are_of_one_length(const Json& model) {
  return integer(model, "/perplexity/stride") == integer(model, "/perplexity/window");
}

bool read_the_same(const Json& model, const Json& source) {
  constexpr std::array kSame = {"window", "stride", "bos", "tokens"};
  for (const char* key : kSame)
    if (const std::string place = std::string("/perplexity/") + key;
        find(model, place) == nullptr || find(source, place) == nullptr || *find(model, place) != *find(source, place))
      return false;
  return text(model, "/perplexity/text/digest") == text(source, "/perplexity/text/digest");
}

}  // namespace

std::optional<Estimate> paired_log_ratio(const Json& model, const Json& source) {
  const std::vector<Json> after = elements(model, "/perplexity/window_nll"),
                          before = elements(source, "/perplexity/window_nll");
  if (after.empty() || after.size() != before.size()) return std::nullopt;
  if (!are_of_one_length(model) || !read_the_same(model, source)) return std::nullopt;
  const double tokens = number(model, "/perplexity/tokens").value_or(0) / static_cast<double>(after.size());
  if (!(tokens > 0)) return std::nullopt;
  MeanAccumulator differences;  // a token
  for (std::size_t i = 0; i < after.size(); ++i) {
    if (!after[i].is_number() || !before[i].is_number()) return std::nullopt;
    differences.add((after[i].get<double>() - before[i].get<double>()) / tokens);
  }
  return differences.estimate();
}

}  // namespace streamline::report
