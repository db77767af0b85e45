// SPDX-License-Identifier: Apache-2.0
// The table that ends `prune`, `heal` and `sparsify`: what the models are and cost, then what each stage took.
#include "streamline/base/perplexity_text.h"
#include "streamline/base/resources.h"
#include "streamline/report/fields.h"
#include "streamline/report/report.h"

namespace streamline {
namespace {

using report::integer, report::number, report::text;
using Row = std::vector<std::string>;

constexpr const char* kUnmeasured = "-";

std::string bytes_or_dash(const Json& json, std::string_view pointer) {
  const auto bytes = integer(json, pointer);
  return bytes && *bytes >= 0 ? format_bytes(static_cast<std::uint64_t>(*bytes)) : "-";
}

std::string rate_or_dash(const Json& json, std::string_view pointer) {
  const auto rate = number(json, pointer);
  return rate ? significant(*rate, 3) : "-";
}

std::string perplexity_or_dash(const Json& model) {
  const Json* measured = report::find(model, "/perplexity");
  return measured == nullptr ? "-" : perplexity_text(*measured).value_or("-");
}

Row model_row(const Json& model) {
  const auto layers = integer(model, "/layers");
  const auto parameters = number(model, "/parameters");
  return {text(model, "/name").value_or("-"),
          layers ? std::to_string(*layers) : "-",
          parameters ? format_count(*parameters) : "-",
          bytes_or_dash(model, "/bytes"),
          perplexity_or_dash(model),
          rate_or_dash(model, "/prefill_tokens_per_second"),
          rate_or_dash(model, "/decode_tokens_per_second")};
}

Row stage_row(const Json& stage) {
  const auto seconds = number(stage, "/seconds");
  return {text(stage, "/name").value_or("-"), seconds ? fixed(*seconds, 1) : "-", bytes_or_dash(stage, "/peak_memory")};
}

}  // namespace

std::string report_table(const Json& record) {
  std::vector<Row> models = {
      {"model", "layers", "parameters", "bytes", "perplexity", "prefill tokens/s", "decode tokens/s"}};
  for (const Json& model : report::elements(record, "/models")) models.push_back(model_row(model));
  std::vector<Row> stages = {{"stage", "seconds", "peak memory"}};
  for (const Json& stage : report::elements(record, "/stages")) stages.push_back(stage_row(stage));

  std::string out;
  if (models.size() > 1) out += format_table(report::without_empty_columns(models, kUnmeasured));
  if (const std::string measured = report::measured_on(record); !measured.empty()) out += measured + "\n";
  if (models.size() > 1 && stages.size() > 1) out += "\n";
  if (stages.size() > 1) out += format_table(stages);
  return out;
}

}  // namespace streamline
