// SPDX-License-Identifier: Apache-2.0
// `streamline merge`: models of one base become one, what they learnt scaled with depth.
#include <iomanip>
#include <memory>
#include <set>
#include <sstream>

#include "command.h"
#include "merge_depth.h"
#include "merge_request.h"
#include "merge_sweep.h"
#include "options.h"
#include "recipe.h"
#include "streamline/base/error.h"
#include "streamline/base/number_text.h"
#include "streamline/base/resources.h"
#include "streamline/io/checkpoint_writer.h"
#include "streamline/merge/write.h"
#include "streamline/report/report.h"

namespace streamline::cli::merge_command {
namespace {

struct Options {
  CommonOptions common;
  MergeOptions merge;
  DepthOptions depth;
  SweepOptions sweep;
  std::string out, max_shard_size = "5GB";
  std::string recipe;  // what was given, as a file of --config
  double density = 0;
  std::optional<Sweep> tried = {};  // what the sweep's word says
  bool overwrite = false, dry_run = false;
};

constexpr const char* kScaledRules = "rules of task vectors, as mean, sum and ties, and with passthrough";

bool takes_scale(const merge::Rule& rule) {
  return rule.combine == merge::Combine::task_vectors || rule.combine == merge::Combine::passthrough;
}

// An option that says nothing to this merge is a mistake, not a wish to be passed over.
void check_meanings(const Arguments& arguments, const Options& options) {
  const bool file = !options.merge.file.empty();
  const char* named = "the file of mergekit's says it; put it there";
  for (const char* option : {"--rule", "--density", "--scale", "--base", "--t", "--threshold", "--weights"})
    if (file && arguments.given(option)) fail(ErrorKind::usage, option, " beside --mergekit: ", named);
  const std::string tried = options.tried ? options.tried->name : "";
  const std::pair<const char*, const char*> swept[] = {
      {"alpha", "--lines-alpha"}, {"beta", "--lines-beta"}, {"scale", "--scale"}, {"t", "--t"}};
  for (const auto& [name, option] : swept)
    if (tried == name && arguments.given(option))
      fail(ErrorKind::usage, option, " beside --sweep ", name, "=…: the values tried take its place");
  const bool depth = options.depth.given();
  if (tried == "beta" && !depth) fail(ErrorKind::usage, "--sweep beta=… goes with --lines-alpha");
  check_meaning(arguments, {{{"--lines-beta", "--lines-outside", "--lines-index"},
                             depth || tried == "alpha",
                             "--lines-alpha, or --sweep alpha=…"},
                            {{"--target", "--control", "--target-weight", "--text-field", "--window", "--windows"},
                             options.tried.has_value(),
                             "--sweep"},
                            {{"--target-weight"}, !options.sweep.control.empty(), "--control"}});
  if (file) return;
  const merge::Rule& rule = merge::find_rule(options.merge.rule);
  const bool between = rule.combine == merge::Combine::slerp, single = rule.combine == merge::Combine::passthrough;
  check_meaning(arguments, {{{"--density"}, rule.keep != merge::Keep::all, "--rule ties, dare or dare-ties"},
                            {{"--threshold"}, rule.keep == merge::Keep::largest, "--rule ties"},
                            {{"--t"}, between, "--rule slerp"},
                            {{"--weights"}, !between && !single, "rules that weigh models; slerp takes --t"},
                            {{"--scale"}, takes_scale(rule), kScaledRules}});
}

// The same of a sweep, whose one number would also pass over what a file says of each tensor.
void check_swept(const merge::MergePlan& plan, const Sweep& tried) {
  const merge::Rule& rule = *plan.request.rule;
  if (tried.name == "t" && rule.combine != merge::Combine::slerp)
    fail(ErrorKind::usage, "--sweep t=… goes with the rule slerp");
  if (tried.name == "scale" && !takes_scale(rule)) fail(ErrorKind::usage, "--sweep scale=… goes with ", kScaledRules);
  if (tried.name != "t" && tried.name != "scale") return;
  std::set<double> given;
  for (const merge::TensorMerge& tensor : plan.tensors)
    if (tensor.rule != nullptr) given.insert(tried.name == "t" ? tensor.parameters.t : tensor.parameters.scale);
  if (given.size() > 1)
    fail(ErrorKind::usage, "--sweep ", tried.name, "=…: the file gives its tensors different ones, from ",
         *given.begin(), " to ", *given.rbegin(), "; it tries one for all");
}

void check_options(const Options& options) {
  const bool swept = options.tried.has_value();
  if (options.out.empty() && !options.dry_run && !swept)
    fail(ErrorKind::usage, "--out for the merged model, --sweep, or --dry-run");
  if (swept && options.sweep.targets.empty())
    fail(ErrorKind::usage, "--sweep measures what is kept of --target, a text like the one that was tuned on");
  std::error_code error;
  for (const std::string& model : options.merge.models)
    if (!options.sweep.targets.empty() && !model.ends_with(".gguf") && std::filesystem::is_regular_file(model, error))
      fail(ErrorKind::usage, model, ": is a file and no model; texts of --target stand with commas between them");
  check_depth(options.depth);
  check_output_directory(options.out, options.overwrite);
}

// A merge on its way: the plan before anything is scaled with depth, and what is known of it.
struct Run {
  const Options& options;
  MergeInput input;
  merge::MergePlan plan = {};
  std::vector<merge::Norms> norms = {};  // where they are asked for
  Json record = Json::object();
};

std::string as_text(const Json& json) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(4);
  if (json.contains("sweep")) text << sweep_text(json["sweep"]);
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
    text << json["output"].get<std::string>() << ": " << counted(json["layers"].get<std::int64_t>(), "layer") << ", "
         << format_count(json["parameters"].get<double>()) << " parameters, "
         << format_bytes(json["bytes"].get<std::uint64_t>()) << "\n";
  for (const Json& note : json["notes"]) text << note.get<std::string>() << "\n";
  return text.str();
}

void make_plan(Run& run) {
  const Options& options = run.options;
  run.plan = merge::plan_merge(std::move(run.input.request));
  if (options.tried) check_swept(run.plan, *options.tried);
  if (options.merge.file.empty() && options.merge.threshold == "model") merge::take_model_thresholds(run.plan);
  run.plan.notes.insert(run.plan.notes.end(), run.input.notes.begin(), run.input.notes.end());
  if (options.dry_run || options.depth.automatic()) run.norms = merge::norms_by_layer(run.plan);
}

// The plan scaled with depth, and recorded as it will be written.
merge::MergePlan scaled(const Run& run, const DepthOptions& depth, Json& record, Json& recipe) {
  merge::MergePlan plan = run.plan;
  std::optional<merge::Lines> lines;
  if (depth.given()) {
    lines = depth_lines(depth, run.input.tuned, plan, run.norms);
    merge::scale_by_depth(plan, *lines);
    record["lines"] = recipe["lines"] = to_json(*lines, depth);
  }
  if (!run.norms.empty()) record["task_vector"] = depth_table(plan, run.norms, lines);
  return plan;
}

// The same with one coefficient set.
merge::MergePlan with_coefficient(const Run& run, const std::string& name, double value, Json& record, Json& recipe) {
  DepthOptions depth = run.options.depth;
  const std::string word = Json(value).dump();
  if (name == "alpha") depth.alpha = word;
  if (name == "beta") depth.beta = word;
  merge::MergePlan plan = scaled(run, depth, record, recipe);
  for (merge::TensorMerge& tensor : plan.tensors) {
    if (name == "scale") tensor.parameters.scale = value;
    if (name == "t") tensor.parameters.t = value;
  }
  if (name == "scale" || name == "t") recipe[name] = value;
  return plan;
}

merge::MergePlan chosen(Run& run, const Placement& placement) {
  if (!run.options.tried) return scaled(run, run.options.depth, run.record, run.input.recipe);
  const Sweep& sweep = *run.options.tried;
  const auto at = [&](double value) {
    Json record, recipe;
    return with_coefficient(run, sweep.name, value, record, recipe);
  };
  SweepResult result = run_sweep(run.options.sweep, sweep, run.plan, at, placement);
  run.record["sweep"] = std::move(result.json);
  return with_coefficient(run, sweep.name, sweep.values[result.best], run.record, run.input.recipe);
}

void write(Run& run, const merge::MergePlan& plan) {
  const Options& options = run.options;
  merge::WriteOptions write{.max_shard_size = parse_size(options.max_shard_size), .recipe = run.input.recipe};
  write.overwrite = options.overwrite ? Overwrite::yes : Overwrite::no;
  write.configuration = run.input.configuration;
  write.run = run.record["run"];
  write.tokenizer = run.input.tokenizer;
  write.files = {{kRecipeFile, options.recipe}};
  const merge::Written written = merge::write_merge(plan, options.out, write);
  run.record["output"] = options.out;
  run.record["layers"] = written.layers;
  run.record["parameters"] = written.parameters;
  run.record["bytes"] = written.bytes;
  run.record["notes"] = written.notes;
}

Output run(const Arguments& arguments, Options& options) {
  if (!options.sweep.values.empty()) options.tried = parse_sweep(options.sweep.values);
  check_meanings(arguments, options);
  check_options(options);
  const Placement placement = start(options.common);
  const Stopwatch watch;
  MergeOptions wanted = options.merge;
  wanted.seed = options.common.seed;
  if (options.density > 0) wanted.density = options.density;
  Run run{options, merge_input(wanted)};
  const std::string tried = options.tried ? options.tried->name : "";
  if (tried != "beta" && (options.depth.given() || tried == "alpha")) check_beta(options.depth, run.input.tuned);
  run.record["run"] = computing_record(placement, options.common.seed);
  if (!options.tried)  // tensors are merged in a type of their own, on the CPU; models are computed by a sweep alone
    for (const char* key : {"device", "dtype"}) run.record["run"].erase(key);
  make_plan(run);
  if (!options.out.empty() && !options.dry_run) merge::check_writable(run.plan, options.out);
  const merge::MergePlan plan = chosen(run, placement);
  run.record["recipe"] = run.input.recipe;
  run.record["notes"] = plan.notes;
  if (!options.out.empty() && !options.dry_run) write(run, plan);
  run.record["seconds"] = watch.seconds();
  std::string text = as_text(run.record);
  return {std::move(run.record), std::move(text)};
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
  arguments.add("--mergekit", merge.file, "a file of mergekit's that names models, rule and parameters");
  arguments.add("--rule", merge.rule, "how task vectors become one", {.choices = rule_names()});
  arguments.add("--weights", merge.weights, "one a model, with commas between them; default: 1 each");
  arguments.add("--scale", merge.scale, "of the merged task vector, or of what is passed through");
  arguments.add("--density", options->density,
                "share of each task vector that is kept; default: 0.2 (ties), 0.1 (dare)",
                {.shows_default = false, .limits = Limits{1e-9, 1, "above 0, up to 1"}});
  arguments.add("--threshold", merge.threshold, "what the largest entries of ties are the largest of",
                {.choices = {"model", "tensor"}});
  arguments.add("--t", merge.t, "of slerp: 0 is the first model, 1 the second", {.limits = Limits{0, 1}});
  arguments.flag("--union-vocabulary", merge.union_vocabulary,
                 "take the rows of all where embeddings have different numbers of them; else that is an error");
  arguments.flag("--any-weights", merge.any_weights,
                 "take adapters that were trained on other weights than the base's; else that is an error");
  Arguments lines = arguments.group("Scaling with depth (LiNeS)");
  lines.add("--lines-alpha", options->depth.alpha,
            "factor of the first layer, or auto: as a uniform average would have it");
  lines.add("--lines-beta", options->depth.beta,
            "what is added to it up to the last layer; default, of one model: 1 - alpha");
  lines.add("--lines-outside", options->depth.outside, "factor of embeddings, final norm and head; default: alpha");
  lines.add("--lines-index", options->depth.index,
            "depth by position, or by what a layer was before the base was pruned",
            {.choices = {"position", "original"}});
  SweepOptions& sweep = options->sweep;
  Arguments trying = arguments.group("Trying coefficients; the best is written if there is an --out");
  trying.add("--sweep", sweep.values, "alpha, beta, scale or t with values: alpha=0,0.3,0.5,1 or scale=0.1:1:0.1");
  trying.add("--target", sweep.targets,
             "text like what was tuned on; of several models one for all, or one each with commas between them");
  trying.add("--control", sweep.control, "text of what shall not be forgotten");
  trying.add("--target-weight", sweep.target_weight, "of targets beside the control, in the score",
             {.limits = kNonNegative});
  trying.add("--text-field", sweep.corpus.text_field, "field of a .jsonl line that holds the text");
  trying.add("--window", sweep.window,
             "tokens of text a window; default: 512, or what the model's positions hold beside BOS",
             {.shows_default = false, .limits = kNonNegative});
  trying.add("--windows", sweep.windows, "windows of each text", {.limits = kPositive});
  arguments.flag("--dry-run", options->dry_run, "show each layer's task vector and factor, and write nothing");
  add_shard_size(arguments, options->max_shard_size);
  arguments.flag("--overwrite", options->overwrite, "replace an existing --out");
  add_compute_options(arguments, options->common);
  return [arguments, options] {
    options->recipe = recipe_text("merge", arguments.given());
    return run(arguments, *options);
  };
}

}  // namespace

const Command& command() {
  static const Command declared{
      "merge", "make one model of several that were tuned from one base",
      "  streamline merge tuned --base BASE --lines-alpha 0.3 --out less-forgetful\n"
      "  streamline merge one two --base BASE --rule ties --lines-alpha auto --lines-beta 0.6 --out both\n"
      "  streamline merge one two --base BASE --rule mean --weights 2,1 --out average\n"
      "  streamline merge tuned --base BASE --sweep alpha=0:1:0.1 --target LEARNT --control GENERAL\n"
      "  streamline merge --mergekit merge.yml --out merged\n",
      declare};
  return declared;
}

}  // namespace streamline::cli::merge_command
