// SPDX-License-Identifier: Apache-2.0
// `streamline merge`: models of one base become one, what they learnt scaled with depth.
#include <charconv>
#include <cmath>
#include <iomanip>
#include <memory>
#include <sstream>

#include "command.h"
#include "merge_request.h"
#include "options.h"
#include "streamline/base/error.h"
#include "streamline/base/resources.h"
#include "streamline/io/checkpoint_writer.h"
#include "streamline/merge/original_depth.h"
#include "streamline/merge/write.h"
#include "streamline/report/report.h"

namespace streamline::cli::merge_command {
namespace {

struct Options {
  CommonOptions common;
  MergeOptions merge;
  std::string out, alpha, beta, outside, index = "position", max_shard_size = "5GB";
  double density = 0;
  bool overwrite = false, dry_run = false;

  bool lines() const { return !alpha.empty(); }
};

constexpr const char* kAutomatic = "auto";

double number(const std::string& word, const char* option) {
  double value = 0;
  const auto result = std::from_chars(word.data(), word.data() + word.size(), value);
  if (result.ec != std::errc() || result.ptr != word.data() + word.size() || !std::isfinite(value))
    fail(ErrorKind::usage, option, " is '", word, "'; expected a number");
  return value;
}

void check_options(const Options& options) {
  if (options.out.empty() && !options.dry_run) fail(ErrorKind::usage, "--out for the merged model, or --dry-run");
  if (!options.lines() && !(options.beta.empty() && options.outside.empty()))
    fail(ErrorKind::usage, "--lines-beta and --lines-outside go with --lines-alpha");
  check_output_directory(options.out, options.overwrite);
}

// The factors of the layers; `norms` are asked for where alpha is found from them.
merge::Lines lines_of(const Options& options, const MergeInput& input, const merge::MergePlan& plan,
                      const std::vector<merge::Norms>& norms) {
  merge::Lines lines;
  if (options.alpha == kAutomatic) {
    merge::Norms total;
    for (const merge::Norms& layer : norms) total += layer;
    lines.alpha = merge::automatic_alpha(input.tuned, total.summed_l1, total.l1);
  } else {
    lines.alpha = number(options.alpha, "--lines-alpha");
  }
  if (options.beta.empty() && input.tuned > 1)
    fail(ErrorKind::usage, "--lines-beta says how much deeper layers get of several models; it has no default");
  lines.beta = options.beta.empty() ? 1 - lines.alpha : number(options.beta, "--lines-beta");
  if (!options.outside.empty()) lines.outside = number(options.outside, "--lines-outside");
  if (options.index == "original") merge::count_original_depths(plan, lines);
  return lines;
}

Json layer_table(const merge::MergePlan& plan, const std::vector<merge::Norms>& norms,
                 const std::optional<merge::Lines>& lines) {
  Json rows = Json::array();
  for (std::size_t i = 0; i < norms.size(); ++i) {
    const std::int64_t layer = i + 1 == norms.size() ? -1 : static_cast<std::int64_t>(i);
    const double factor = lines ? merge::depth_factor(*lines, layer, plan.map.after()) : 1;
    const double norm = std::sqrt(norms[i].squared);
    rows.push_back({{"layer", layer < 0 ? Json("outside") : Json(layer)},
                    {"norm", norm},
                    {"factor", factor},
                    {"scaled_norm", std::abs(factor) * norm}});
  }
  return rows;
}

std::string as_text(const Json& json) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(4);
  if (json.contains("lines"))
    text << "scaled with depth: alpha " << json["lines"]["alpha"].get<double>() << ", beta "
         << json["lines"]["beta"].get<double>() << "\n";
  if (json.contains("task_vector")) {
    text << "  layer  |task vector|  factor  |scaled|\n";
    for (const Json& row : json["task_vector"])
      text << std::setw(7) << (row["layer"].is_string() ? "outside" : row["layer"].dump()) << std::setw(15)
           << row["norm"].get<double>() << std::setw(8) << row["factor"].get<double>() << std::setw(10)
           << row["scaled_norm"].get<double>() << "\n";
  }
  if (json.contains("output"))
    text << json["output"].get<std::string>() << ": " << json["layers"] << " layers, "
         << format_count(json["parameters"].get<double>()) << " parameters, "
         << format_bytes(json["bytes"].get<std::uint64_t>()) << "\n";
  for (const Json& note : json["notes"]) text << note.get<std::string>() << "\n";
  return text.str();
}

// The plan with its depths; what it does to each layer goes into the record where that was measured.
merge::MergePlan planned(const Options& options, MergeInput& input, Json& record) {
  merge::MergePlan plan = merge::plan_merge(std::move(input.request));
  if (options.merge.config.empty() && options.merge.threshold == "model") merge::take_model_thresholds(plan);
  plan.notes.insert(plan.notes.end(), input.notes.begin(), input.notes.end());
  std::vector<merge::Norms> norms;
  if (options.dry_run || options.alpha == kAutomatic) norms = merge::norms_by_layer(plan);
  std::optional<merge::Lines> lines;
  if (options.lines()) {
    lines = lines_of(options, input, plan, norms);
    merge::scale_by_depth(plan, *lines);
    record["lines"] = {{"alpha", lines->alpha},
                       {"automatic", options.alpha == kAutomatic},
                       {"beta", lines->beta},
                       {"outside", lines->outside.value_or(lines->alpha)},
                       {"index", options.index}};
    input.recipe["lines"] = record["lines"];
  }
  if (!norms.empty()) record["task_vector"] = layer_table(plan, norms, lines);
  return plan;
}

Output run(const Options& options) {
  check_options(options);
  start(options.common);
  const Stopwatch watch;
  MergeOptions wanted = options.merge;
  wanted.seed = options.common.seed;
  if (options.density > 0) wanted.density = options.density;
  MergeInput input = merge_input(wanted);
  Json record = {{"run", run_record(command_line(), options.common.seed)}};
  const merge::MergePlan plan = planned(options, input, record);
  record["recipe"] = input.recipe;
  record["notes"] = plan.notes;
  if (!options.dry_run) {
    merge::WriteOptions write{.max_shard_size = parse_size(options.max_shard_size), .recipe = input.recipe};
    write.overwrite = options.overwrite ? Overwrite::yes : Overwrite::no;
    write.configuration = input.configuration;
    write.run = record["run"];
    write.tokenizer = input.tokenizer;
    const merge::Written written = merge::write_merge(plan, options.out, write);
    record["output"] = options.out;
    record["layers"] = written.layers;
    record["parameters"] = written.parameters;
    record["bytes"] = written.bytes;
    record["notes"] = written.notes;
  }
  record["seconds"] = watch.seconds();
  std::string text = as_text(record);
  return {std::move(record), std::move(text)};
}

std::vector<std::string> rule_names() {
  std::vector<std::string> names = {"task-arithmetic"};
  for (const merge::Rule& rule : merge::rules()) names.emplace_back(rule.name);
  return names;
}

std::function<Output()> declare(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  MergeOptions& merge = options->merge;
  arguments.add("MODELS", merge.models,
                "MODEL ...: tuned from one base; a directory of PEFT files is an adapter for it");
  arguments.add("--base", merge.base, "the model that they were tuned from");
  arguments.add("--out", options->out, "directory of the result");
  arguments.add("--mergekit", merge.config, "a file of mergekit's that names models, rule and parameters");
  arguments.add("--rule", merge.rule, "how task vectors become one", {.choices = rule_names()});
  arguments.add("--weights", merge.weights, "one a model, with commas between them; default: 1 each");
  arguments.add("--scale", merge.scale, "of the merged task vector, or of what is passed through");
  arguments.add("--density", options->density,
                "share of each task vector that is kept; default: 0.2 (ties), 0.1 (dare)",
                {.shows_default = false, .limits = Limits{1e-9, 1, "above 0, up to 1"}});
  arguments.add("--threshold", merge.threshold, "what the largest entries of ties are the largest of",
                {.choices = {"model", "tensor"}});
  arguments.add("--t", merge.t, "of slerp: 0 is the first model, 1 the second");
  Arguments lines = arguments.group("Scaling with depth (LiNeS)");
  lines.add("--lines-alpha", options->alpha, "factor of the first layer, or auto: as a uniform average would have it");
  lines.add("--lines-beta", options->beta,
            "what is added to it up to the last layer; default, of one model: 1 - alpha");
  lines.add("--lines-outside", options->outside, "factor of embeddings, final norm and head; default: alpha");
  lines.add("--lines-index", options->index, "depth by position, or by what a layer was before the base was pruned",
            {.choices = {"position", "original"}});
  arguments.flag("--dry-run", options->dry_run, "show each layer's task vector and factor, and write nothing");
  arguments.add("--max-shard-size", options->max_shard_size, "largest weight file, e.g. 5GB");
  arguments.flag("--overwrite", options->overwrite, "replace an existing --out");
  add_compute_options(arguments, options->common);
  return [options] { return run(*options); };
}

}  // namespace

const Command& command() {
  static const Command declared{
      "merge", "make one model of several that were tuned from one base",
      "  streamline merge tuned --base BASE --lines-alpha 0.3 --out less-forgetful\n"
      "  streamline merge one two --base BASE --rule ties --lines-alpha auto --lines-beta 0.6 --out both\n"
      "  streamline merge one two --base BASE --rule mean --weights 2,1 --out average\n"
      "  streamline merge --mergekit merge.yml --out merged\n",
      declare};
  return declared;
}

}  // namespace streamline::cli::merge_command
