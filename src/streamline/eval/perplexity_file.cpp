// SPDX-License-Identifier: Apache-2.0
#include "streamline/eval/perplexity_file.h"

#include <algorithm>
#include <cmath>

#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/json_fields.h"
#include "streamline/base/unfinished.h"

namespace streamline {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kFormat = "streamline-perplexity";
constexpr std::int64_t kVersion = 1;
constexpr std::size_t kDigits = 12;  // of the digest, in the file's name

double figure(const Json& object, std::string_view key, const std::string& where) {
  return required(json_number(object, key, where), key, where);
}

std::int64_t whole(const Json& object, std::string_view key, const std::string& where) {
  const std::int64_t value = required(json_integer(object, key, where), key, where);
  if (value < 0) fail(ErrorKind::format, where, ": '", key, "' is below 0");
  return value;
}

// Null where there is none.
std::optional<double> error_of(const Json& object, const std::string& where) {
  if (object.contains("standard_error") && object["standard_error"].is_null()) return std::nullopt;
  return figure(object, "standard_error", where);
}

Estimate estimate(const Json& object, const char* key, const std::string& where) {
  const Json& found = json_member(object, key, where);
  const std::string place = where + ": " + key;
  if (!found.is_object()) fail(ErrorKind::format, place, ": not a JSON object");
  return {.value = figure(found, "value", place), .standard_error = error_of(found, place)};
}

PerplexityResult result_of(const Json& json, const std::string& where) {
  const PerplexityResult result{
      .value = figure(json, "value", where),
      .standard_error = error_of(json, where),
      .mean_nll = figure(json, "mean_nll", where),
      .bits_per_byte = figure(json, "bits_per_byte", where),
      .tokens = whole(json, "tokens", where),
      .windows = whole(json, "windows", where),
      .window_nll = json_list<double>(json, "window_nll", &Json::is_number, where),
      .window_tokens = json_list<std::int64_t>(json, "window_tokens", &Json::is_number_integer, where)};
  const auto windows = static_cast<std::size_t>(result.windows);
  if (result.window_nll.size() != windows || result.window_tokens.size() != windows)
    fail(ErrorKind::format, where, ": ", windows, " windows, and ", result.window_nll.size(), " likelihoods of them");
  return result;
}

Divergence divergence_of(const Json& json, const std::string& where) {
  return {.kl = estimate(json, "kl", where),
          .kl_median = figure(json, "kl_median", where),
          .kl_99 = figure(json, "kl_99th_percentile", where),
          .kl_largest = figure(json, "kl_largest", where),
          .same_first_choice = estimate(json, "same_first_choice", where),
          .mean_difference = estimate(json, "probability_difference", where),
          .rms_difference = figure(json, "probability_difference_rms", where),
          .log_perplexity_ratio = estimate(json, "log_perplexity_ratio", where)};
}

// JSON has no way to write a number that is not finite.
bool all_finite(const Json& json) {
  if (json.is_structured()) return std::ranges::all_of(json, all_finite);
  return !json.is_number() || std::isfinite(json.get<double>());
}

}  // namespace

fs::path perplexity_path(const fs::path& results, const EvaluationText& text) {
  const fs::path given = fs::path(text.source + "/").parent_path();
  return results / "perplexity" / (given.filename().string() + "-" + text.digest.substr(0, kDigits) + ".json");
}

void write_perplexity(const fs::path& file, const KeptPerplexity& kept) {
  const PerplexityResult& result = kept.result;
  const Json measured = {{"value", result.value},
                         {"standard_error", result.standard_error ? Json(*result.standard_error) : Json()},
                         {"mean_nll", result.mean_nll},
                         {"bits_per_byte", result.bits_per_byte},
                         {"tokens", result.tokens},
                         {"windows", result.windows},
                         {"window_nll", result.window_nll},
                         {"window_tokens", result.window_tokens}};
  const Json divergence = kept.divergence ? to_json(*kept.divergence) : Json();
  if (!all_finite(measured) || !all_finite(divergence))
    fail(ErrorKind::numeric, file.string(), ": a figure is not finite");
  write_text(file, dump_json({{"format", kFormat},
                              {"version", kVersion},
                              {"key", kept.key},
                              {"perplexity", measured},
                              {"divergence", divergence}}));
  remove_unfinished(file.parent_path());
}

KeptPerplexity read_perplexity(const fs::path& file) {
  const std::string where = file.string();
  const Json json = parse_json(read_text(file), where);
  if (!json.is_object() || json_string(json, "format", where) != kFormat)
    fail(ErrorKind::format, where, ": not a kept perplexity (it has no \"format\": \"", kFormat, "\")");
  if (const std::int64_t version = whole(json, "version", where); version != kVersion)
    fail(ErrorKind::unsupported, where, ": version ", version, " of the format; this program knows ", kVersion);
  const Json &measured = json_member(json, "perplexity", where), &divergence = json_member(json, "divergence", where);
  KeptPerplexity kept{.key = json_member(json, "key", where), .result = {}};
  if (!measured.is_object() || (!divergence.is_object() && !divergence.is_null()))
    fail(ErrorKind::format, where, ": 'perplexity' or 'divergence' is not a JSON object");
  kept.result = result_of(measured, where);
  if (divergence.is_object()) kept.divergence = divergence_of(divergence, where);
  return kept;
}

}  // namespace streamline
