// SPDX-License-Identifier: Apache-2.0
// `streamline sparsify`: single weights set to zero, by magnitude, by Wanda or by SparseGPT, as much of each layer as
// an allocation says.
#include <cmath>
#include <memory>

#include "allocation_file.h"
#include "changed_model.h"
#include "command.h"
#include "options.h"
#include "recipe.h"
#include "shipped_text.h"
#include "streamline/arch/companions.h"
#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/number_text.h"
#include "streamline/base/resources.h"
#include "streamline/base/state_key.h"
#include "streamline/base/unfinished.h"
#include "streamline/heal/train_state.h"
#include "streamline/plan/masks_file.h"
#include "streamline/prune/spectra.h"
#include "streamline/report/report.h"
#include "streamline/sparse/sparsify.h"
#include "streamline/surgery/changeable.h"
#include "training.h"

namespace streamline::cli::sparsify_command {
namespace {

struct Options {
  CommonOptions common;
  DataOptions data;
  SpreadOptions spread;
  std::string model, out, evaluation, state, method = "wanda", pattern, allocation = "uniform", inputs = "pruned",
                                             max_shard_size = "5GB";
  std::string recipe;  // what was given, as a file of --config
  double damping = 0.01;
  std::int64_t evaluation_windows = 64;
  bool overwrite = false, plan_only = false;
};

struct Run {
  const Options& options;
  OpenedModel opened;
  sparse::SparsifyOptions sparsify = {};
  TokenBatches calibration = {};
  Measured measured = {};
  Json report = Json::object();
};

void check_options(const Arguments& arguments, const Options& options) {
  const sparse::Criterion criterion = sparse::parse_criterion(options.method);
  const bool text = sparse::reads_text(criterion), measured = !options.evaluation.empty();
  const bool uniform = options.allocation == "uniform";
  if (text && options.data.path.empty())
    fail(ErrorKind::usage, "--method ", options.method, " fits the weights that stay to what the matrices read: give ",
         "it text like your model's use with --data");
  check_meaning(
      arguments,
      {{{"--data", "--samples", "--documents", "--shuffle"}, text, "--method wanda or sparsegpt, which read a text"},
       {{"--text-field", "--seq-len", "--bos", "--allow-long"}, text || measured, "a text, of --data or of --eval"},
       {{"--eval-windows"}, measured, "--eval"},
       {{"--inputs"}, criterion == sparse::Criterion::wanda, "--method wanda"},
       {{"--damping"}, criterion == sparse::Criterion::sparse_gpt, "--method sparsegpt"},
       {{"--spread", "--clip", "--cap"}, !uniform, "--allocation alpha, or a file of `streamline spectra`"},
       {{"--tail"}, options.allocation == "alpha", "--allocation alpha"},
       {{"--max-shard-size"}, !options.plan_only, "a checkpoint, which --plan-only does not write"}});
  const sparse::Pattern pattern = sparse::parse_pattern(options.pattern);
  if (pattern.group > 0 && arguments.given("--ratio"))
    fail(ErrorKind::usage, "--pattern says how much goes, and so does --ratio; give one of the two");
  check_spread(options.spread);
  if (!options.plan_only) return check_output_directory(options.out, options.overwrite);
  if (criterion == sparse::Criterion::sparse_gpt)
    fail(ErrorKind::usage, "--plan-only writes which weights stay, and --method sparsegpt changes these too; take ",
         "wanda or magnitude, or leave out --plan-only");
  for (const std::string& file : {options.out, masks_beside(options.out).string()})
    check_output(file, options.overwrite);
}

// How much of each layer goes, as ratios or as patterns.
void allocate_layers(Run& run) {
  const Model& model = run.opened.model;
  const auto layers = static_cast<std::size_t>(model.layer_count());
  const sparse::Pattern pattern = sparse::parse_pattern(run.options.pattern);
  SpreadOptions spread = run.options.spread;
  if (pattern.group > 0) spread.ratio = 1 - static_cast<double>(pattern.kept) / static_cast<double>(pattern.group);
  run.report["allocation"] = {{"by", run.options.allocation}, {"ratio", spread.ratio}};
  if (run.options.allocation == "uniform") {
    run.sparsify.ratios.assign(layers, spread.ratio);
    if (pattern.group > 0) run.sparsify.patterns.assign(layers, pattern);
    return;
  }
  const LayerExponents exponents = run.options.allocation == "alpha"
                                       ? exponents_of(spectra_record(model, spread, run.options.common.seed))
                                       : read_exponents(run.options.allocation, model);
  const Allocation allocation = allocate_by_exponents(model.config(), exponents.values, spread);
  run.report["allocation"]["spread"] = allocation.spread;
  run.report["allocation"]["exponents"] = exponents.values;
  if (const std::string doubt = doubt_about_exponents(exponents.values, exponents.errors); !doubt.empty())
    warn(run.report, doubt + "; compare with --allocation uniform");
  run.sparsify.ratios = allocation.ratios;
  if (pattern.group == 0) return;
  std::vector<AllocationPart> parts;
  for (const std::int64_t size : layer_weights(model.config())) parts.push_back({.size = size});
  for (const std::int64_t gone : whole_units(allocation.ratios, parts, pattern.group))
    run.sparsify.patterns.push_back({.kept = pattern.group - gone, .group = pattern.group});
  const auto [fewest, most] = std::ranges::minmax(run.sparsify.patterns, {}, &sparse::Pattern::kept);
  if (fewest.kept != most.kept)
    warn(run.report, "layers keep " + std::to_string(fewest.kept) + " to " + std::to_string(most.kept) + " of every " +
                         std::to_string(pattern.group) + " weights, so that kernels for " + run.options.pattern +
                         " take those only that keep " + std::to_string(pattern.kept));
}

void load_texts(Run& run) {
  const Options& options = run.options;
  if (sparse::reads_text(run.sparsify.criterion)) {
    tell_of_shipped_text(options.data);
    run.calibration = load_calibration(run.opened, options.data, options.common.seed);
    run.report["calibration"] = text_record(run.calibration);
  }
  run.measured = load_measured(run.opened, options.data, options.evaluation, options.evaluation_windows);
}

void measure(Run& run, const char* name, const Model& model) {
  add_measured(run.report, run.opened, run.measured, name, model);
}

constexpr const char* kStateOf = "sparsify 1";  // kStateForm

// What the pruned matrices depend on, as far as it is known: the text and the shares come later than the model.
Json run_key(const Run& run) {
  Json key = {{kStateForm, kStateOf},
              {"model", run.opened.model.checkpoint().digest()},
              {"method", run.options.method},
              {"inputs", run.options.inputs},
              {"damping", run.sparsify.damping},
              {"dtype", c10::toString(run.opened.model.placement().dtype)}};
  if (!run.calibration.digest.empty()) key["text"] = run.calibration.digest;
  if (!run.sparsify.ratios.empty()) key.update({{"ratios", run.sparsify.ratios}, {"patterns", Json::array()}});
  for (const sparse::Pattern& pattern : run.sparsify.patterns) key["patterns"].push_back({pattern.kept, pattern.group});
  return key;
}

// Says what experts that were sent too few tokens were pruned by, and how much text would do.
void warn_of_stand_ins(Run& run, const std::vector<sparse::PrunedMatrix>& matrices) {
  std::int64_t by_wanda = 0, by_magnitude = 0, of_experts = 0;
  double more = 0;
  for (const sparse::PrunedMatrix& matrix : matrices) {
    if (matrix.expert >= 0) ++of_experts;
    if (matrix.by == run.sparsify.criterion) continue;
    ++(matrix.tokens > 0 ? by_wanda : by_magnitude);
    if (matrix.tokens > 0)
      more = std::max(more, static_cast<double>(matrix.columns) / static_cast<double>(matrix.tokens));
  }
  if (by_wanda + by_magnitude == 0) return;
  std::string sentence = "of " + std::to_string(of_experts) + " matrices of experts ";
  if (by_wanda > 0)
    sentence += std::to_string(by_wanda) +
                " read fewer tokens than they have columns and were pruned by wanda (about " +
                format_count(std::ceil(more * static_cast<double>(run.calibration.tokens()))) +
                " tokens of text would be enough)";
  if (by_magnitude > 0)
    sentence += (by_wanda > 0 ? ", " : "") + std::to_string(by_magnitude) +
                " read none and were pruned by magnitude in each row";
  warn(run.report, sentence);
}

void record(Run& run, const std::vector<sparse::PrunedMatrix>& matrices) {
  warn_of_stand_ins(run, matrices);
  std::int64_t weights = 0, zeros = 0;
  std::map<std::int64_t, std::pair<std::int64_t, std::int64_t>> layers;
  for (const sparse::PrunedMatrix& matrix : matrices) {
    weights += matrix.weights, zeros += matrix.zeros;
    layers[matrix.layer].first += matrix.weights, layers[matrix.layer].second += matrix.zeros;
    Json row = {{"layer", matrix.layer},
                {"matrix", role_name(matrix.role)},
                {"weights", matrix.weights},
                {"zeros", matrix.zeros}};
    if (matrix.expert >= 0) row["expert"] = matrix.expert;
    if (matrix.by != run.sparsify.criterion) row.update({{"by", criterion_name(matrix.by)}, {"tokens", matrix.tokens}});
    run.report["matrices"].push_back(std::move(row));
  }
  for (const auto& [layer, counts] : layers)
    run.report["layers"].push_back(
        {{"layer", layer}, {"zeros", static_cast<double>(counts.second) / static_cast<double>(counts.first)}});
  run.report["sparsity"] = {
      {"weights", weights}, {"zeros", zeros}, {"share", static_cast<double>(zeros) / static_cast<double>(weights)}};
}

std::string percent(double share) { return fixed(100 * share, 1) + " %"; }

std::string summary(const Json& report) {
  const Json& sparsity = report["sparsity"];
  double low = 1, high = 0;
  for (const Json& layer : report["layers"]) {
    low = std::min(low, layer["zeros"].get<double>());
    high = std::max(high, layer["zeros"].get<double>());
  }
  const std::string layers =
      percent(low) == percent(high) ? "" : " (" + percent(low) + " to " + percent(high) + " of a layer)";
  return percent(sparsity["share"].get<double>()) + " of the " + format_count(sparsity["weights"].get<double>()) +
         " weights of the layers' matrices are zero" + layers;
}

void write(Run& run, const Model& pruned) {
  const Options& options = run.options;
  const std::string card = "`" + options.model + "` with zeros: " + summary(run.report) + ", by " + options.method +
                           ". Its files are as large as before, and every loader of the model reads them.\n" +
                           card_recipe(run.report);
  ApplyOptions apply = changed_options({options.model, options.max_shard_size, options.overwrite}, run.report, card);
  apply.finish = [&](OutputDirectory& directory, const AppliedPlan& applied) {
    run.report["output"] = output_record(options.out, applied);
    write_report(directory, run.report);
  };
  apply_plan(pruned, plan_of_all(pruned, "sparsify"), {}, options.out, apply);
}

// A plan that repeats the result, and the masks beside it.
void write_plan(Run& run, const std::shared_ptr<const sparse::PrunedStore>& store) {
  const Options& options = run.options;
  const Model& model = run.opened.model;
  Plan plan = plan_of_all(model, "sparsify");
  plan.base.model = model.checkpoint().label();
  plan.method.parameters = {
      {"method", options.method}, {"allocation", options.allocation}, {"ratio", run.report["allocation"]["ratio"]}};
  if (!options.pattern.empty()) plan.method.parameters["pattern"] = options.pattern;
  if (run.sparsify.criterion == sparse::Criterion::wanda) plan.method.parameters["inputs"] = options.inputs;
  if (options.allocation != "uniform")
    plan.method.parameters.update(
        {{"spread", options.spread.spread}, {"clip", options.spread.clip}, {"cap", options.spread.cap}});
  if (options.allocation == "alpha") plan.method.parameters["tail"] = options.spread.tail;
  plan.method.calibration_digest = run.calibration.digest;
  plan.method.seed = options.common.seed;
  const std::filesystem::path masks = masks_beside(options.out);
  plan.masks =
      PlanMasks{.file = masks.filename().string(), .sha256 = write_masks(masks, sparse::masks_of(model, store))};
  run.report["plan"] = to_json(plan);
  run.report["output"] = {{"path", options.out}, {"masks", masks.string()}};
  write_text(options.out, dump_json(run.report["plan"]));
}

// What was written, in words.
std::string told(const Run& run) {
  std::string text = report_table(run.report) + "\n" + summary(run.report) + ".\n";
  if (run.options.plan_only)
    text += run.options.out + ": a plan that masks them, by " + run.report["output"]["masks"].get<std::string>() +
            " beside it; `streamline apply` carries it out\n";
  return text;
}

Output run(const Arguments& arguments, const Options& options) {
  check_options(arguments, options);
  const Placement placement = start(options.common);
  Run run{options, open_model(options.model, placement)};
  const Model& model = run.opened.model;
  if (!model.checkpoint().is_safetensors())
    fail(ErrorKind::unsupported, options.model,
         ": weights are set to zero in Hugging Face checkpoints; export the result");
  check_no_side_route(model.checkpoint(), "was learnt for the weights as they are");
  if (!options.plan_only) check_applicable(model.checkpoint(), options.out);
  check_changeable(
      model, [](std::int64_t, Role role) { return is_measured(role); },
      "whose weights are not changed; sparsify the unquantised checkpoint");
  run.report = {{"format", 1}, {"run", computing_record(placement, options.common.seed)}};
  run.report["recipe"] = options.recipe;
  run.report["source"] = source_record(options.model, model);
  run.sparsify.criterion = sparse::parse_criterion(options.method);
  run.sparsify.inputs = options.inputs == "dense" ? sparse::Inputs::dense : sparse::Inputs::pruned;
  run.sparsify.damping = options.damping;
  run.sparsify.progress = true;
  check_train_states(options.state, run_key(run));
  load_texts(run);
  check_train_states(options.state, run_key(run));
  allocate_layers(run);
  check_train_states(options.state, run_key(run));
  measure(run, "source", model);
  // Without --state the matrices lie beside the result until it is written.
  std::optional<UnfinishedDirectory> scratch;
  if (options.state.empty()) scratch.emplace(whole_path(options.out).concat(".matrices"));
  if (!options.state.empty()) std::filesystem::create_directories(options.state);
  const std::filesystem::path folder = scratch ? scratch->path() : std::filesystem::path(options.state);
  const auto store =
      std::make_shared<sparse::PrunedStore>(folder, run_key(run), scratch ? Durable::with_directory : Durable::now,
                                            sparse::unpruned_matrices(model, run.sparsify.criterion));
  const Stopwatch watch;
  record(run, sparse::sparsify(model, run.calibration, run.sparsify, *store));
  run.report["seconds"] = watch.seconds();
  const Model pruned = model.changed(sparse::PrunedStore::change(store));
  measure(run, "sparse", pruned);
  run.report["summary"] = summary(run.report);
  if (options.plan_only)
    write_plan(run, store);
  else
    write(run, pruned);
  remove_state(options.state);
  std::string text = told(run);
  return {std::move(run.report), std::move(text)};
}

std::function<Output()> declare(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  SpreadOptions& spread = options->spread;
  add_model(arguments, options->model);
  arguments.add("--out", options->out, "directory of the result; of --plan-only the plan's file", {.required = true});
  arguments.add("--method", options->method,
                "magnitude (no text), wanda (magnitude times the size of the input), sparsegpt (the weights that stay "
                "are changed to make up for those that go)",
                {.choices = {"magnitude", "wanda", "sparsegpt"}});
  arguments.add("--ratio", spread.ratio, "share of the weights of the layers' matrices that goes",
                {.limits = Limits{0, 1}});
  arguments.add("--pattern", options->pattern, "N:M instead of a ratio: of every M weights of a row N stay, as 2:4");
  arguments.add("--inputs", options->inputs,
                "of wanda: from layers that are pruned already, as released, or from the model as it was, in one pass",
                {.choices = {"pruned", "dense"}});
  arguments.add("--damping", options->damping,
                "of sparsegpt: added to the diagonal of the Gram matrix, as a share of its mean",
                {.limits = kPositive});
  Arguments spreading = arguments.group("How much of each layer");
  spreading.add("--allocation", options->allocation,
                "uniform, alpha (AlphaPruning: by the spectra of the matrices), or a file of `streamline spectra`");
  spreading.add("--spread", spread.spread, "of alpha: how far layers may differ (tau)", {.limits = Limits{0, 1}});
  spreading.add("--tail", spread.tail, "of alpha: where the tail of a spectrum begins",
                {.choices = {"peak", "peak-released", "middle"}});
  spreading.add("--cap", spread.cap, "the most that a layer may lose", {.limits = Limits{0, 1}});
  spreading.flag("--clip", spread.clip,
                 "layers above the cap stand at it and the others lose more, instead of an error");
  add_data_options(arguments, options->data, DataNeed::choosing);
  arguments.add("--eval", options->evaluation, "text whose perplexity is measured before and after");
  arguments.add("--eval-windows", options->evaluation_windows, "windows of it", {.limits = kPositive});
  arguments.add("--state", options->state, "directory of what is done, from which an interrupted run goes on");
  add_shard_size(arguments, options->max_shard_size);
  arguments.flag("--plan-only", options->plan_only,
                 "write a plan instead, --out NAME.json, which masks the weights that go by NAME.masks.safetensors "
                 "beside it");
  arguments.flag("--overwrite", options->overwrite, "replace an existing --out");
  add_sweep_options(arguments, options->common);
  return [arguments, options] {
    options->recipe = recipe_text("sparsify", arguments.given());
    if (sparse::parse_criterion(options->method) == sparse::Criterion::wanda) take_shipped_text(options->data);
    return with_state(options->state, [&] { return run(arguments, *options); });
  };
}

}  // namespace

const Command& command() {
  static const Command declared{
      "sparsify", "set single weights to zero; files keep their shapes and every loader reads them",
      "  streamline sparsify MODEL --data FILE --ratio 0.5 --out sparse\n"
      "  streamline sparsify MODEL --data FILE --method sparsegpt --pattern 2:4 --out sparse\n"
      "  streamline sparsify MODEL --data FILE --ratio 0.7 --allocation alpha --spread 0.2 --out sparse\n"
      "  streamline sparsify MODEL --data FILE --ratio 0.5 --plan-only --out masks.json\n",
      declare};
  return declared;
}

}  // namespace streamline::cli::sparsify_command
