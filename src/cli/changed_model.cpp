// SPDX-License-Identifier: Apache-2.0
#include "changed_model.h"

#include "recipe.h"
#include "streamline/base/log.h"
#include "streamline/report/report.h"

namespace streamline::cli {

PerplexityOptions measured_windows(const OpenedModel& opened, const DataOptions& data, std::int64_t windows) {
  return {.window = sequence_length(opened, data),  // which says whether they may be longer than the positions
          .max_windows = windows,
          .bos = resolve_bos(data.bos, *opened.tokenizer),
          .progress = true,
          .beyond_positions = true};
}

Measured load_measured(const OpenedModel& opened, const DataOptions& data, const std::string& path,
                       std::int64_t windows) {
  if (path.empty()) return {};
  Measured measured{.given = true,
                    .text = load_evaluation_text(path, data.corpus, *opened.tokenizer),
                    .perplexity = measured_windows(opened, data, windows)};
  check_long_enough(measured.text, measured.perplexity.window, "--seq-len");
  return measured;
}

Json perplexity_record(const PerplexityResult& result, const PerplexityOptions& options, const EvaluationText& text,
                       std::optional<PerplexityResult>& first) {
  Json record = to_json(result, options, text);
  if (first)
    record["log_perplexity_ratio"] = to_json(log_perplexity_ratio(result, *first));
  else
    first = result;
  return record;
}

void warn(Json& report, const std::string& sentence) {
  log_warning(sentence);
  report["warnings"].push_back(sentence);
}

void add_measured(Json& report, const OpenedModel& opened, Measured& measured, const char* name, const Model& model) {
  Json row = {{"name", name},
              {"layers", model.layer_count()},
              {"parameters", model.parameters()},
              {"bytes", model.weight_bytes()}};
  if (measured.given) {
    const PerplexityResult result = perplexity(model, measured.text, measured.perplexity, opened.tokenizer->bos());
    row["perplexity"] = perplexity_record(result, measured.perplexity, measured.text, measured.first);
    report["evaluation"] = {{"source", measured.text.source}};
    for (const char* key : {"window", "stride", "bos", "tokens"}) report["evaluation"][key] = row["perplexity"][key];
  }
  report["models"].push_back(std::move(row));
}

Json source_record(const std::string& path, const Model& model) {
  return {{"path", path},
          {"family", model.config().family->name},
          {"layers", model.layer_count()},
          {"parameters", model.parameters()},
          {"bytes", model.weight_bytes()},
          {"digest", model.checkpoint().digest()}};
}

Json output_record(const std::string& path, const AppliedPlan& applied) {
  return {{"path", path}, {"ordinary", applied.ordinary}, {"format", applied.format}, {"notes", applied.notes}};
}

void write_report(OutputDirectory& directory, const Json& report) {
  directory.write("report.json", dump_json(report));
  directory.write("report.html", report_html(report));
  if (report.contains("recipe")) directory.write(kRecipeFile, report["recipe"].get<std::string>());
}

Plan plan_of_all(const Model& model, const char* command) {
  Plan plan = keep_all(model.layer_count());
  plan.base.digest = model.checkpoint().digest();
  plan.method.name = command;
  return plan;
}

ApplyOptions changed_options(const Target& target, const Json& report, std::string card) {
  ApplyOptions apply;
  apply.max_shard_size = parse_size(target.max_shard_size);
  apply.overwrite = target.overwrite ? Overwrite::yes : Overwrite::no;
  apply.provenance = report["run"];
  apply.provenance["source"] = target.source;
  apply.card_body = std::move(card);
  apply.repeatable = false;
  return apply;
}

std::string card_recipe(const Json& report) {
  std::string text = "\n## Recipe\n\n```\n";
  for (const Json& word : report["run"]["command"]) text += word.get<std::string>() + ' ';
  return text + "\n```\n";
}

}  // namespace streamline::cli
